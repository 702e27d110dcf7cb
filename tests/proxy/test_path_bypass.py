"""Whatever an upstream makes of a path that was let through: it never serves something dearer than was asked for."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from gateway.errors import RequestError
from gateway.l402.amounts import Msat
from gateway.paywall.terms import Terms
from gateway.proxy.paths import canonical_target
from gateway.proxy.services import Origin, Pattern, Route, Service
from gateway.proxy.table import NoRoute, RouteTable
from tests.conftest import SCALE
from tests.proxy.path_models import MODELS, Rows, decoded_once, price_of

_LAYOUTS: dict[str, Rows] = {
    "apart": [("/free/**", 0), ("/paid/**", 1000)],
    "free within priced": [("/paid/status", 0), ("/paid/free/**", 0), ("/paid/*/free", 0), ("/paid/**", 1000)],
    "dear within cheap within free": [("/free/paid/status/**", 9000), ("/free/paid/**", 1000), ("/**", 0)],
}
_STARTS = ["/free/", "/free", "/paid/status", "/paid/free/", "/paid/x/free", "/", "/free/paid", "/%66ree/", "//"]
_WORDS = ["free", "paid", "status", "x", "paid", "%70aid", "p%61id", "statu%73", "PAID", "%46ree", "fre%65"]
_TRICKS = [
    *[
        "/",
        "/",
        "/",
        "/",
        "..",
        ".",
        "%2e",
        "%2E%2e",
        "%2f",
        "%2F",
        "%5c",
        "\\",
        "//",
        ";",
        ";x",
        "..;",
        ";a=/",
        ";/..",
    ],
    *["%00", "%252e", "%252f", "%25", "%c0%af", "%c0%ae", "%e0%80%af", "%3b", "%3f", "%23", "%20", "%09", "#", "?"],
    *["%", "%zz", "+", ":", "@", "~", "&", "=", "\t", "%u002e", "%%32%65", "/../", "/./", "/..;/", "/;/", "/%2e%2e/"],
]


def hostile_paths(number: int) -> Iterator[str]:
    chance = random.Random(402)
    for _ in range(number):
        parts = [chance.choice(_STARTS)]
        for _ in range(chance.randint(0, 5)):
            parts.append(chance.choice(_WORDS if chance.random() < 0.5 else _TRICKS))
            if chance.random() < 0.4:
                parts.append("/")
        yield "".join(parts)


def table_of(rows: Rows) -> RouteTable:
    service = Service("s", Origin("http", "127.0.0.1", 9000))
    return RouteTable(
        [
            Route(Pattern(path=pattern), service, Terms("s", f"r{n}", Msat(price)))
            for n, (pattern, price) in enumerate(rows)
        ]
    )


@pytest.fixture(scope="module")
def paths() -> list[str]:
    return list(hostile_paths(int(100_000 * SCALE)))


def test_no_upstream_reads_an_accepted_path_as_something_dearer(paths: list[str]) -> None:
    tables = [(rows, table_of(rows)) for rows in _LAYOUTS.values()]
    let_through = 0
    for raw in paths:
        try:
            target = canonical_target(raw, scheme="http", host="h")
        except RequestError:
            continue
        readings = {model(target.path) for model in MODELS}
        for rows, table in tables:
            route = table.match("h", target, "GET")
            if isinstance(route, NoRoute):
                continue
            let_through += route.terms.free
            dearest = max(price_of(rows, reading) for reading in readings)
            assert dearest <= route.terms.price_msat, (raw, rows)
    assert let_through > 0.05 * len(paths), "the generator must let enough paths through to mean something"


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_the_same_paths_get_past_a_matcher_that_takes_prefixes_of_raw_or_decoded_text(
    paths: list[str], layout: str
) -> None:
    rows = _LAYOUTS[layout]
    for matched_text in (lambda path: path, decoded_once):
        bypasses = sum(
            price_of(rows, matched_text(path)) < max(price_of(rows, model(path)) for model in MODELS)
            for path in (raw.partition("?")[0] for raw in paths[:2_000])
        )
        assert bypasses > min(20, len(paths) // 500)
