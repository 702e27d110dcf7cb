"""What a route sells, as immutable values that ``gateway.config`` builds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.l402.amounts import Msat

DEFAULT_ROUTE = "default"
"""The route id of a service's own price."""


class Auth(StrEnum):
    """Whether a credential is asked for."""

    REQUIRED = "required"
    """No valid credential, no upstream: answered 402."""
    OPTIONAL = "optional"
    """Served either way; a valid credential is checked and named to the upstream."""
    OFF = "off"
    """Credentials are not looked at."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The price of a route and what paying it buys.

    ``route`` is a stable id within the service (``[a-z0-9_-]{1,64}``); ``price_msat`` 0 means free;
    ``valid_for_s`` is the pass's length from settlement, None = until revoked; ``capabilities`` are signed into the
    token; ``capability`` is the one that this route asks for (None = any token of the service).
    """

    service: str
    route: str
    price_msat: Msat
    auth: Auth = Auth.REQUIRED
    tier: int = 0
    valid_for_s: int | None = None
    capabilities: tuple[str, ...] = ()
    capability: str | None = None

    @property
    def free(self) -> bool:
        """True where nobody is asked to pay."""
        return self.price_msat == 0 or self.auth is Auth.OFF
