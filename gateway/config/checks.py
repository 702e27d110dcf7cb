"""Mistakes that show only when several values are seen together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.config.addresses import DEMO_ORIGIN, HostPort, reaches
from gateway.config.fields import A_PRICE
from gateway.config.models import Configuration, RouteEntry, ServiceEntry, SimulatedLightning
from gateway.config.patterns import are_admitted, begins_with, is_inside
from gateway.config.yaml_tree import Loc, show_loc
from gateway.l402.caveats import capabilities_caveat
from gateway.paywall.terms import Auth

MAX_ROWS = 5_000
"""How many routes (each service's own price counts too) one table may have."""

Line = Callable[[Loc], int]


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake at ``loc``. It is certain only if the values at ``needs`` are themselves right."""

    loc: Loc
    message: str
    needs: tuple[Loc, ...] = ()


def check(configuration: Configuration, line: Line) -> Iterator[Finding]:
    """Every mistake across fields; ``line`` tells where a value stands, for messages that name another place."""
    yield from _check_names(configuration, line)
    yield from _check_node_files(configuration)
    rows = sum(1 + len(service.routes) for service in configuration.services)
    if rows > MAX_ROWS:
        yield Finding(("services",), f"more than {MAX_ROWS} routes altogether")
    for index, service in enumerate(configuration.services):
        loc: Loc = ("services", index)
        yield from _check_price(loc, service.price, service.auth, ((*loc, "auth"),))
        yield from _check_capabilities(service, loc, line)
        yield from _check_upstream(configuration, service, loc)
        yield from _check_headers(service, loc, line)
        yield from _check_routes(service, loc, line)


def _check_names(configuration: Configuration, line: Line) -> Iterator[Finding]:
    names = [service.name for service in configuration.services]
    yield from _check_repeats(names, [("services", index, "name") for index in range(len(names))], line)


def _check_repeats(values: list[str], locs: list[Loc], line: Line) -> Iterator[Finding]:
    first: dict[str, Loc] = {}
    for value, loc in zip(values, locs, strict=True):
        earlier = first.setdefault(value, loc)
        if earlier != loc:
            yield Finding(loc, f"the same as on line {line(earlier)}, expected another", (loc, earlier))


def _check_node_files(configuration: Configuration) -> Iterator[Finding]:
    node = configuration.lightning
    if not isinstance(node, SimulatedLightning):
        return
    loc: Loc = ("lightning", "data")
    if configuration.storage.get_secret_value() == f"sqlite:///{node.data}":
        yield Finding(loc, "the gateway's own database, expected another file", (loc, ("storage",)))
    loc = ("lightning", "listen")
    if reaches(node.listen, configuration.listen):
        yield Finding(loc, "the gateway's own address, expected another port", (loc, ("listen",)))


def _check_price(loc: Loc, price: int | None, auth: Auth, auths: tuple[Loc, ...]) -> Iterator[Finding]:
    """``auths``: where the auth that holds at ``loc`` may be written."""
    where = (*loc, "price")
    if price is None and auth is not Auth.OFF:
        yield Finding(where, f"missing, expected {A_PRICE}", (where, *auths))
    if price and auth is Auth.OFF:
        message = "a price that nobody pays because auth is off, expected free, or auth: required"
        yield Finding(where, message, (where, *auths))


def _check_capabilities(service: ServiceEntry, loc: Loc, line: Line) -> Iterator[Finding]:
    where = (*loc, "capabilities")
    locs: list[Loc] = [(*where, index) for index in range(len(service.capabilities))]
    yield from _check_repeats(list(service.capabilities), locs, line)
    try:
        if service.capabilities:
            capabilities_caveat(service.name, service.capabilities)
    except ValueError:
        yield Finding(where, "too long for a token, expected fewer or shorter ones", (where, (*loc, "name")))


def _check_upstream(configuration: Configuration, service: ServiceEntry, loc: Loc) -> Iterator[Finding]:
    origin, where = service.upstream.origin, (*loc, "upstream")
    if origin != DEMO_ORIGIN:
        for listener, key in _own_listeners(configuration):
            if reaches((origin.host, origin.port), listener):
                message = f"the address at {show_loc(key)}, expected the API that is for sale"
                yield Finding(where, message, (where, key))
    if service.upstream_ca is not None and origin.scheme != "https":
        yield Finding((*loc, "upstream_ca"), "certificates for an upstream without https", (where,))
    prefix = (*loc, "strip_prefix")
    if not begins_with(service.match.path, service.strip_prefix):
        needs = (prefix, (*loc, "match", "path"))
        yield Finding(prefix, "not how every path of this service begins, expected the front of match.path", needs)


def _own_listeners(configuration: Configuration) -> Iterator[tuple[HostPort, Loc]]:
    yield configuration.listen, ("listen",)
    node = configuration.lightning
    if isinstance(node, SimulatedLightning):
        yield node.listen, ("lightning", "listen")
    else:
        yield node.address, ("lightning", "address")


def _check_headers(service: ServiceEntry, loc: Loc, line: Line) -> Iterator[Finding]:
    locs: list[Loc] = [(*loc, "request_headers", name) for name in service.request_headers]
    yield from _check_repeats([name.lower() for name in service.request_headers], locs, line)
    for name, where in zip(service.request_headers, locs, strict=True):
        if name.lower() == "authorization" and service.forward_credentials:
            needs = (where, (*loc, "forward_credentials"))
            yield Finding(where, "takes the place of the buyer's credential that forward_credentials sends", needs)


def _check_routes(service: ServiceEntry, loc: Loc, line: Line) -> Iterator[Finding]:
    wheres: list[Loc] = [(*loc, "routes", index) for index in range(len(service.routes))]
    named = [(route.name, (*where, "name")) for route, where in zip(service.routes, wheres, strict=True) if route.name]
    yield from _check_repeats([name for name, _ in named], [where for _, where in named], line)
    seen: dict[tuple[str, frozenset[str]], Loc] = {}
    for route, where in zip(service.routes, wheres, strict=True):
        yield from _check_route(service, loc, route, where)
        match = (*where, "match")
        key = (route.match.path or service.match.path, frozenset(route.match.methods or service.match.methods))
        earlier = seen.setdefault(key, match)
        if earlier != match:
            needs = (match, earlier, (*loc, "match"))
            yield Finding(match, f"the same paths and methods as on line {line(earlier)}", needs)


def _check_route(service: ServiceEntry, loc: Loc, route: RouteEntry, where: Loc) -> Iterator[Finding]:
    match = (*where, "match")
    if route.match.path is None and not route.match.methods:
        yield Finding(match, "nothing to tell its requests apart, expected path or methods", (match,))
    if route.match.path is not None and not is_inside(route.match.path, service.match.path):
        needs: tuple[Loc, ...] = ((*match, "path"), (*loc, "match", "path"))
        yield Finding((*match, "path"), "outside the service's match.path, expected a path inside it", needs)
    if not are_admitted(route.match.methods, by=service.match.methods):
        needs = ((*match, "methods"), (*loc, "match", "methods"))
        yield Finding((*match, "methods"), "methods that the service's match.methods leaves out", needs)
    if route.capability is not None and route.capability not in service.capabilities:
        needs = ((*where, "capability"), (*loc, "capabilities"))
        yield Finding((*where, "capability"), "not in this service's capabilities, expected one of them", needs)
    auths = ((*where, "auth"), (*loc, "auth"))
    yield from _check_price(where, route.price, route.auth or service.auth, auths)
