"""What is allowed, but hardly meant."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import pytest

from gateway.config.patterns import METHODS
from gateway.proxy.paths import canonical_target
from gateway.proxy.table import RouteTable
from tests.config.written import LND, SIMULATED, load, service, warned


def test_a_plain_configuration_earns_no_warning(tmp_path: Path) -> None:
    assert warned(tmp_path, service()) == []


def readable_lnd(folder: Path) -> str:
    for name in ("tls.cert", "m.macaroon"):
        (folder / name).write_bytes(b"x")
    return LND


def test_a_price_under_one_sat_is_warned_of_with_lnd_only(tmp_path: Path) -> None:
    lines = ("price: 999 msat", "routes: [{match: {path: /a}, price: 1 msat}, {match: {path: /b}, price: 1 sat}]")
    meaning = "under 1 sat: by default lnd's channels don't carry so little, nobody could pay it"
    assert warned(tmp_path, service(*lines)) == []
    assert warned(tmp_path, service(*lines, lightning=readable_lnd(tmp_path))) == [
        f"5:10: services[0].price: {meaning}",
        f"6:39: services[0].routes[0].price: {meaning}",
    ]


def test_files_of_lnd_that_are_not_there_yet_are_warned_of(tmp_path: Path) -> None:
    assert [line.split(": ", 1)[1] for line in warned(tmp_path, service(lightning=LND))] == [
        "lightning.tls_cert: cannot be read now (no such file or directory); nothing can be sold until it can",
        "lightning.macaroon: cannot be read now (no such file or directory); nothing can be sold until it can",
    ]
    assert warned(tmp_path, service(lightning=readable_lnd(tmp_path))) == []


def test_times_too_short_for_people_are_warned_of(tmp_path: Path) -> None:
    text = service(
        "valid_for: 9s",
        "routes: [{match: {path: /a}, price: 1 sat, valid_for: 2s}]",
        lightning="lightning: {backend: simulated, invoice_expiry: 59s}",
    )
    assert [line.split(": ")[1] for line in warned(tmp_path, text)] == [
        "lightning.invoice_expiry",
        "services[0].valid_for",
        "services[0].routes[0].valid_for",
    ]


def test_tokens_in_the_clear_are_warned_of_where_they_cost_money(tmp_path: Path) -> None:
    real = readable_lnd(tmp_path).replace("regtest", "mainnet")
    for lightning, url, number in (
        (real, "http://api.example.com", 1),
        (real, "https://api.example.com", 0),
        (real, "http://127.0.0.1:8402", 0),
        (SIMULATED, "http://api.example.com", 0),
    ):
        upstream = "upstream: http://127.0.0.1:9000"
        assert len(warned(tmp_path, service(upstream, lightning=lightning) + f"\npublic_url: {url}\n")) == number


def test_an_upstream_at_the_public_address_is_warned_of(tmp_path: Path) -> None:
    text = service("upstream: http://api.example.com:80/v1") + "\npublic_url: http://api.example.com\n"
    assert warned(tmp_path, text) == ["4:13: services[0].upstream: the same as public_url: requests may come back here"]


def test_a_route_that_an_earlier_one_swallows_is_warned_of(tmp_path: Path) -> None:
    routes = (
        "routes: [{match: {path: /a/**}, price: 1 sat}, {match: {path: /a/b}, price: 2 sat}, "
        "{match: {path: /b}, price: free}, {match: {methods: [HEAD]}, price: 3 sat}, "
        "{match: {methods: [GET]}, price: free}]"
    )
    assert warned(tmp_path, service(routes)) == [
        "6:50: services[0].routes[1]: never matches: services[0].routes[0] (line 6) takes all its requests"
    ]


def test_a_service_that_an_earlier_one_swallows_is_named_once(tmp_path: Path) -> None:
    text = service() + "\n- {name: b, upstream: demo, price: free, routes: [{match: {path: /x}, price: free}]}"
    assert warned(tmp_path, text) == ["6:3: services[1]: never matches: services[0] (line 3) takes all its requests"]


def test_a_price_that_no_request_can_get_is_warned_of(tmp_path: Path) -> None:
    text = service("match: {path: /a/**}", "routes: [{name: all, match: {path: /a/**}, price: free}]")
    assert warned(tmp_path, text) == [
        "5:10: services[0].price: never asked for: services[0].routes[0] (line 7) takes all the service's requests"
    ]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("{path: /a}", "{path: /a/**}"),
        ("{path: /a/**}", "{path: /**}"),
        ("{path: /a/*}", "{path: /a/**}"),
        ("{path: /*/b}", "{path: /a/*}"),
        ("{methods: [GET]}", "{}"),
        ("{methods: [GET]}", "{methods: [GET, POST]}"),
        ("{host: a.example}", "{}"),
        ("{host: a.example}", "{host: '*.example'}"),
        ("{host: '*.a.example'}", "{host: '*.example'}"),
        ("{host: '*.example'}", "{host: example}"),
        ("{path: /a/}", "{path: /a}"),
        ("{path: /a/*}", "{path: /a/}"),
    ],
)
def test_a_service_that_something_is_left_for_is_not_warned_of(tmp_path: Path, earlier: str, later: str) -> None:
    text = service(f"match: {earlier}") + f"\n- {{name: b, match: {later}, upstream: demo, price: free}}"
    assert warned(tmp_path, text) == []


PATHS = (
    "/",
    "/a",
    "/a/",
    "/b",
    "/a/b",
    "/b/a",
    "/a/b/c",
    "/a/c",
    "/*",
    "/*/b",
    "/a/*",
    "/**",
    "/a/**",
    "/*/**",
    "/*/b/**",
)
REQUESTS = [path for path in PATHS if "*" not in path] + ["/x", "/x/y", "/x/b", "/a/y/z", "/x/b/c/d", "/x/"]


def test_the_warning_agrees_with_the_table_for_every_pair_of_patterns(tmp_path: Path) -> None:
    step = max(1, round(3 / float(os.environ.get("L402_TEST_SCALE", "1.0"))))
    for first, second in list(product(PATHS, PATHS))[::step]:
        text = (
            service(f"match: {{path: '{first}'}}")
            + f"\n- {{name: b, match: {{path: '{second}'}}, upstream: demo, price: free}}"
        )
        settings = load(tmp_path, text)
        table = RouteTable(settings.routes)
        targets = [canonical_target(path, scheme="http", host="") for path in REQUESTS]
        reached = any(table.match("", target, "GET") == settings.routes[1] for target in targets)
        assert reached == (settings.warnings == ()), (first, second)


def test_every_method_that_can_be_written_can_be_matched(tmp_path: Path) -> None:
    table = RouteTable(load(tmp_path, service(f"match: {{methods: [{', '.join(METHODS)}]}}")).routes)
    target = canonical_target("/", scheme="http", host="")
    assert all(table.match("", target, method) == table.routes[0] for method in METHODS)
