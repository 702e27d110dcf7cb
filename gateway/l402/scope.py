"""What a token's caveats leave of its rights (L402 L47, L48, L62, L63, L65 to L67, L69).

Caveats with the same condition form a chain: each may only narrow the one before it, and the last one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from gateway.errors import CredentialError, Fault
from gateway.l402.caveats import (
    OUR_NAMESPACE,
    PRICE,
    ROUTE,
    SERVICES,
    Caveat,
    capabilities_condition,
    read_names,
    read_price,
    read_services,
    read_time,
    valid_until_condition,
)

Names = frozenset[str]


@dataclass(slots=True)
class Scope:
    """Rights at one service; None = not restricted.

    ``services`` holds ``name:tier`` pairs, ``valid_until`` Unix seconds, ``price_msat`` the quoted millisatoshi.
    """

    services: Names | None = None
    capabilities: Names | None = None
    valid_until: int | None = None
    routes: Names | None = None
    price_msat: int | None = None

    def intersect(self, other: Scope) -> Scope:
        """What both leave."""
        return Scope(
            _common(self.services, other.services),
            _common(self.capabilities, other.capabilities),
            _least(self.valid_until, other.valid_until),
            _common(self.routes, other.routes),
            _least(self.price_msat, other.price_msat),
        )

    def check(self, service: str, tier: int, capability: str | None, now: int) -> None:
        """Raise ``CredentialError`` (scope, expired) unless these rights cover that use."""
        if self.services is not None and f"{service}:{tier}" not in self.services:
            raise CredentialError(Fault.SCOPE, "the token is for another service or tier")
        if capability is not None and self.capabilities is not None and capability not in self.capabilities:
            raise CredentialError(Fault.SCOPE, "the token lacks the capability")
        if self.valid_until is not None and now >= self.valid_until:
            raise CredentialError(Fault.EXPIRED)


def read_scope(caveats: Iterable[Caveat], service: str) -> Scope:
    """Evaluate authenticated caveats for one service. Raises ``CredentialError`` (invalid caveat).

    A condition matches as a whole only: those of service ``a`` say nothing about ``a_b``. Unknown ones are skipped
    (L402 L48), except in our own namespace: there, one that we cannot check may have been meant to restrict.
    """
    scope = Scope()
    rules = _rules(service)
    for condition, value in caveats:
        if (narrow := rules.get(condition)) is not None:
            narrow(scope, value)
        elif condition.startswith(OUR_NAMESPACE):
            raise CredentialError(Fault.INVALID_CAVEAT, "an unknown condition in the gateway's own namespace")
    return scope


@lru_cache(maxsize=256)
def _rules(service: str) -> dict[str, Callable[[Scope, str], None]]:
    return {
        SERVICES: _narrow_services,
        capabilities_condition(service): _narrow_capabilities,
        valid_until_condition(service): _narrow_valid_until,
        ROUTE: _narrow_routes,
        PRICE: _narrow_price,
    }


def _narrow_services(scope: Scope, value: str) -> None:
    scope.services = _subset(read_services(value), scope.services)


def _narrow_capabilities(scope: Scope, value: str) -> None:
    scope.capabilities = _subset(read_names(value), scope.capabilities)


def _narrow_routes(scope: Scope, value: str) -> None:
    scope.routes = _subset(read_names(value), scope.routes)


def _narrow_valid_until(scope: Scope, value: str) -> None:
    scope.valid_until = _not_above(read_time(value), scope.valid_until)


def _narrow_price(scope: Scope, value: str) -> None:
    scope.price_msat = _not_above(read_price(value), scope.price_msat)


def _subset(later: Names, earlier: Names | None) -> Names:
    if earlier is not None and not later <= earlier:
        raise CredentialError(Fault.INVALID_CAVEAT, "a later caveat lists more than an earlier one")
    return later


def _not_above(later: int, earlier: int | None) -> int:
    if earlier is not None and later > earlier:
        raise CredentialError(Fault.INVALID_CAVEAT, "a later caveat allows more than an earlier one")
    return later


def _common(one: Names | None, other: Names | None) -> Names | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _least(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
