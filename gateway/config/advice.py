"""What is allowed in a configuration, but hardly meant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from gateway.config.addresses import is_loopback, parse_upstream
from gateway.config.checks import Finding
from gateway.config.compile import Row
from gateway.config.files import why_unreadable
from gateway.config.models import Configuration, LndLightning
from gateway.config.yaml_tree import Loc, show_loc
from gateway.lightning.settings import FromFile
from gateway.proxy.patterns import PathPattern, covers, parse_pattern, shadows
from gateway.proxy.services import Pattern
from gateway.storage.location import SqliteLocation, parse_location

_SMALLEST_ON_LND_MSAT = 1_000
_SHORTEST_EXPIRY_S = 60
_SHORTEST_PASS_S = 10
_TOO_SHORT = f"less than {_SHORTEST_PASS_S} seconds from the payment: a slow buyer pays for nothing"


def advise(configuration: Configuration, rows: Sequence[Row], line: Callable[[Loc], int]) -> Iterator[Finding]:
    """Everything worth a second look in a configuration without mistakes."""
    yield from _about_storage(configuration)
    yield from _about_lightning(configuration)
    yield from _about_public_url(configuration)
    yield from _about_prices(configuration, rows)
    yield from _about_passes(configuration)
    yield from _about_unreachable_rows(rows, line)


def _about_storage(configuration: Configuration) -> Iterator[Finding]:
    location = parse_location(configuration.storage.get_secret_value())
    if isinstance(location, SqliteLocation) and not location.path.parent.is_dir():
        yield Finding(("storage",), f"there is no folder {location.path.parent}: the gateway cannot start without it")


def _about_lightning(configuration: Configuration) -> Iterator[Finding]:
    node = configuration.lightning
    if node.invoice_expiry < _SHORTEST_EXPIRY_S:
        yield Finding(("lightning", "invoice_expiry"), "less than a minute: people pay more slowly than that")
    if not isinstance(node, LndLightning):
        return
    for key, material in (("tls_cert", node.tls_cert), ("macaroon", node.macaroon)):
        reason = why_unreadable(material.path) if isinstance(material, FromFile) else None
        if reason is not None:
            # Not a mistake: lnd may write it later, and tokens sold before are served meanwhile.
            yield Finding(("lightning", key), f"cannot be read now ({reason}); nothing can be sold until it can")


def _about_public_url(configuration: Configuration) -> Iterator[Finding]:
    url = configuration.public_url
    real = configuration.lightning.network == "mainnet"
    if url is not None and real and url.startswith("http://") and not is_loopback(parse_upstream(url).origin.host):
        yield Finding(("public_url",), "http: whoever can read the traffic can use the tokens that others paid for")
    origin = parse_upstream(url).origin if url is not None else None
    for index, service in enumerate(configuration.services):
        if service.upstream.origin == origin:
            yield Finding(("services", index, "upstream"), "the same as public_url: requests may come back here")


def _about_prices(configuration: Configuration, rows: Sequence[Row]) -> Iterator[Finding]:
    if not isinstance(configuration.lightning, LndLightning):
        return
    for loc, route in rows:
        if 0 < route.terms.price_msat < _SMALLEST_ON_LND_MSAT:
            yield Finding(
                (*loc, "price"), "under 1 sat: by default lnd's channels don't carry so little, nobody could pay it"
            )


def _about_passes(configuration: Configuration) -> Iterator[Finding]:
    for index, service in enumerate(configuration.services):
        if service.valid_for is not None and service.valid_for < _SHORTEST_PASS_S:
            yield Finding(("services", index, "valid_for"), _TOO_SHORT)
        for number, route in enumerate(service.routes):
            if route.valid_for is not None and route.valid_for < _SHORTEST_PASS_S:
                yield Finding(("services", index, "routes", number, "valid_for"), _TOO_SHORT)


def _about_unreachable_rows(rows: Sequence[Row], line: Callable[[Loc], int]) -> Iterator[Finding]:
    """Rows that never decide because one row above takes all their requests; a whole service is named once."""
    above = _rows_above([route.pattern for _, route in rows])
    gone = set()
    for row, (loc, route) in enumerate(rows):
        first = above[row]
        if _is_default(loc) and first is not None and rows[first][1].service.name != route.service.name:
            gone.add(route.service.name)
    for row, (loc, route) in enumerate(rows):
        first = above[row]
        if first is None or (route.service.name in gone and not _is_default(loc)):
            continue
        name = f"{show_loc(rows[first][0])} (line {line(rows[first][0])})"
        if _is_default(loc) and route.service.name not in gone:
            yield Finding((*loc, "price"), f"never asked for: {name} takes all the service's requests")
        else:
            yield Finding(loc, f"never matches: {name} takes all its requests")


def _rows_above(patterns: Sequence[Pattern]) -> list[int | None]:
    """For each row the first one above that leaves it nothing."""
    parsed = [parse_pattern(pattern.path) for pattern in patterns]
    # A row is covered only by rows with its own first segment or with none of their own: thousands of services with
    # a path each are told apart without comparing every pair.
    alike: dict[str | None, list[int]] = defaultdict(list)
    found: list[int | None] = []
    for row, path in enumerate(parsed):
        first = path.segments[0] if path.segments else None
        above = alike[None] if first is None else sorted((*alike[None], *alike[first]))
        found.append(_row_above(row, above, patterns, parsed))
        alike[first].append(row)
    return found


def _row_above(
    row: int, above: Sequence[int], patterns: Sequence[Pattern], parsed: Sequence[PathPattern]
) -> int | None:
    # Paths first: they tell most rows apart, and are parsed only once.
    same_paths = (earlier for earlier in above if covers(parsed[earlier], parsed[row]))
    return next((earlier for earlier in same_paths if shadows(patterns[earlier], patterns[row])), None)


def _is_default(loc: Loc) -> bool:
    return len(loc) == 2
