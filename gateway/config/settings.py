"""What a configuration file comes to: frozen values that the server hands to the rooms below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.config.addresses import DEMO_ORIGIN, HostPort
from gateway.errors import Problem
from gateway.lightning.settings import LightningSettings
from gateway.proxy.client_address import Network
from gateway.proxy.services import Origin, Route, Service


@dataclass(frozen=True, slots=True)
class Settings:
    """A usable configuration.

    ``listen`` may have port 0 (any free one). ``storage_url`` is ``sqlite:////absolute/file`` or ``postgresql://…`` and
    may hold a password. ``routes`` is the table in matching order: for each service its routes, then its own price
    (route id ``default``). Routes of one service share one ``Service`` object. ``fast_path`` is the short way for plain
    requests. ``warnings`` are mistakes that don't
    stop the gateway, in the order of the file.
    """

    source: Path
    listen: HostPort
    public_url: str | None
    storage_url: str = field(repr=False)
    lightning: LightningSettings
    invoice_expiry_s: int
    strict: bool
    trusted_proxies: tuple[Network, ...]
    invalid_credential_status: int
    routes: tuple[Route, ...]
    fast_path: bool = True
    warnings: tuple[Problem, ...] = ()

    @property
    def uses_demo_upstream(self) -> bool:
        """Whether the sample API must be started; ``with_demo_upstream`` then says where it listens."""
        return any(route.service.origin == DEMO_ORIGIN for route in self.routes)

    def with_demo_upstream(self, port: int) -> Settings:
        """The same settings with ``upstream: demo`` pointing at the sample API on this loopback port."""
        origin = replace(DEMO_ORIGIN, port=port)
        return replace(self, routes=_moved(self.routes, origin))


def _moved(routes: Sequence[Route], origin: Origin) -> tuple[Route, ...]:
    moved: dict[str, Service] = {}
    result = []
    for route in routes:
        if route.service.origin == DEMO_ORIGIN:
            service = moved.setdefault(route.service.name, replace(route.service, origin=origin))
            result.append(replace(route, service=service))
        else:
            result.append(route)
    return tuple(result)
