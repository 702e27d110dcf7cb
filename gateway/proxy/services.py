"""Services and routes as immutable values that ``gateway.config`` builds and the route table serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.paywall.terms import Terms
from gateway.proxy.hosts import in_brackets, with_port

Scheme = Literal["http", "https"]

MAX_KNOWN_SERVICES = 4_096
"""Services for which something is kept, found by identity; more, as after many reloads, are worked out again."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an upstream listens. ``host`` is a name or address without brackets."""

    scheme: Scheme
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The Host header for this upstream: port left out when it is the scheme's default."""
        default = 443 if self.scheme == "https" else 80
        return in_brackets(self.host) if self.port == default else with_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. ``idle`` is the longest silence while a body flows, not a total."""

    connect: float = 3.0
    first_byte: float = 60.0
    idle: float = 60.0


@dataclass(frozen=True, slots=True)
class PathRewrite:
    """Take ``strip_prefix`` off the path's front, put ``prefix`` there: '' or '/segments' without a final '/'."""

    strip_prefix: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """One upstream and how requests are sent to it. ``set_headers`` may hold secrets: never shown."""

    name: str
    origin: Origin
    rewrite: PathRewrite = PathRewrite()
    timeouts: Timeouts = Timeouts()
    set_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    forward_credentials: bool = False
    ca_file: str | None = None
    """PEM bundle to trust instead of the system's, for an upstream with a private CA."""
    max_body_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a route matches: host ('' = any, '*.example.com' = one or more labels), path pattern, methods (empty = any).

    A path pattern works on whole segments: ``/a/b`` matches that path only, ``*`` one segment, a final ``/**`` the
    path before it and everything below it.
    """

    host: str = ""
    path: str = "/**"
    methods: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the route table: the first row that matches decides."""

    pattern: Pattern
    service: Service
    terms: Terms
