"""What is known about a request while it is answered."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from gateway.proxy.headers import Inspected
from gateway.proxy.services import Route


@dataclass(slots=True)
class Exchange:
    """One request on its way, and what the log line will say of it. ``started`` is of the monotonic clock."""

    request: web.BaseRequest
    started: float
    client: str = ""
    proxies: tuple[str, ...] = ()
    """Trusted proxies between client and us, in the order in which the request passed them."""
    host: str = ""
    authority: str = ""
    """The Host header as it was sent, port included."""
    path: str = ""
    route: Route | None = None
    outcome: str = "error"
    status: int = 0
    bytes_out: int = 0
    found: Inspected = field(default_factory=dict, repr=False)

    def header_lines(self, name: bytes) -> list[str]:
        """Values of all field lines with this lower-case name, one that ``check_request_head`` keeps, in order."""
        lines = self.found.get(name)
        return [value.decode("latin-1") for value in lines] if lines else []
