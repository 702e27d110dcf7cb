from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.l402.amounts import Msat
from gateway.paywall.terms import Auth, Terms
from gateway.proxy.paths import canonical_target
from gateway.proxy.patterns import PathPattern, parse_pattern
from gateway.proxy.services import Origin, PathRewrite, Pattern, Route, Service
from gateway.proxy.table import MAX_PLACES, MAX_REMEMBERED_TARGET, NoRoute, Place, RouteTable
from tests.conftest import SCALE

UPSTREAM = Origin("http", "127.0.0.1", 9000)


def row(
    path: str = "/**",
    *,
    host: str = "",
    methods: str = "",
    price: int = 1000,
    auth: Auth = Auth.REQUIRED,
    name: str = "s",
) -> Route:
    terms = Terms(name, "r", Msat(price), auth)
    return Route(Pattern(host, path, frozenset(methods.split())), Service(name, UPSTREAM), terms)


def found(table: RouteTable, target: str, *, host: str = "a.example", method: str = "GET") -> int | NoRoute:
    """The index of the row that decides."""
    route = table.match(host, canonical_target(target, scheme="http", host=host), method)
    return route if isinstance(route, NoRoute) else next(n for n, each in enumerate(table.routes) if each is route)


NOT_FOUND = NoRoute("not_found")


@pytest.mark.parametrize(
    ("path", "fitting", "others"),
    [
        (
            "/a/**",
            ["/a", "/a/", "/a/b", "/a/b/c/", "/%61/x", "/a;v=1/b", "/a?x=/b"],
            ["/", "/ab", "/A", "/b/a", "/A/x"],
        ),
        ("/a/b", ["/a/b", "/a/b?x", "/a/%62", "/a/b;v"], ["/a/b/", "/a", "/a/b/c", "/a/B"]),
        ("/a/b/", ["/a/b/"], ["/a/b", "/a/b/c"]),
        ("/a/*", ["/a/b", "/a/%20"], ["/a/", "/a", "/a/b/", "/a/b/c"]),
        ("/*/b", ["/a/b", "/b/b"], ["/b", "/a/b/", "/a/a/b"]),
        ("/a/*/**", ["/a/b", "/a/b/", "/a/b/c"], ["/a", "/a/"]),
        ("/", ["/", "/?x"], ["/a"]),
        ("/**", ["/", "/a", "/a/b/"], []),
        ("/café", ["/caf%C3%A9", "/caf%c3%a9"], ["/cafe", "/caf%E9"]),
    ],
)
def test_patterns_match_whole_segments_in_their_case(path: str, fitting: list[str], others: list[str]) -> None:  # R11
    table = RouteTable([row(path)])
    assert [found(table, target) for target in fitting] == [0] * len(fitting)
    assert [found(table, target) for target in others] == [NOT_FOUND] * len(others)


def test_the_first_row_that_fits_decides() -> None:
    table = RouteTable(
        [
            *[
                row("/w/*/x"),
                row("/w/status"),
                row("/w/**"),
                row("/w/history/**"),
                row("/**", methods="GET"),
                row("/z"),
            ],
            row("/**"),
        ]
    )
    targets = ["/w/status", "/w/history/1", "/w/a/x", "/w/status/x", "/z", "/w"]
    assert [found(table, target) for target in targets] == [1, 2, 0, 0, 4, 2]
    assert found(table, "/z", method="POST") == 5
    assert found(table, "/y", method="POST") == 6


@pytest.mark.parametrize(
    ("host", "index"),
    [
        ("a.example", 0),
        ("b.example", 1),
        ("c.b.example", 1),
        ("example", 3),
        ("anexample", 3),
        ("2001:db8::1", 2),
        ("", 3),
        ("x.a.example", 1),
    ],
)
def test_hosts_match_by_name_wildcard_or_any(host: str, index: int) -> None:
    table = RouteTable([row(host="A.Example"), row(host="*.example"), row(host="[2001:DB8::1]"), row()])
    assert found(table, "/x", host=host) == index


def test_the_order_of_rows_counts_more_than_how_exact_they_are() -> None:
    table = RouteTable([row("/a/**"), row("/a/b", host="a.example"), row("/a/b/c", host="*.example")])
    assert found(table, "/a/b") == 0
    assert found(table, "/a/b/c") == 0


def test_a_host_of_no_service_is_told_from_a_path_of_none() -> None:  # R35
    hosted = RouteTable([row("/a", host="a.example"), row("/b", host="*.b.example")])
    assert found(hosted, "/a", host="other.example") == NoRoute("unknown_host")
    assert found(hosted, "/a", host="") == NoRoute("unknown_host")
    assert found(hosted, "/a", host="b.example") == NoRoute("unknown_host")
    assert found(hosted, "/b", host="a.example") == NOT_FOUND
    assert found(RouteTable([*hosted.routes, row("/c")]), "/a", host="other.example") == NOT_FOUND
    assert found(RouteTable([]), "/") == NOT_FOUND


def test_a_path_outside_every_service_goes_nowhere() -> None:
    table = RouteTable([row("/a/**"), row("/b")])
    assert [found(table, target) for target in ("/", "/c", "/b/x", "/ab")] == [NOT_FOUND] * 4


def test_methods_are_part_of_the_match() -> None:
    table = RouteTable(
        [row("/a", methods="GET"), row("/a", methods="POST PUT"), row("/b", methods="HEAD"), row("/c/**")]
    )
    assert [found(table, "/a", method=method) for method in ("GET", "HEAD", "POST", "PUT")] == [0, 0, 1, 1]  # R31
    assert found(table, "/a", method="DELETE") == NoRoute("method_not_allowed", ("GET", "HEAD", "POST", "PUT"))
    assert found(table, "/b", method="GET") == NoRoute("method_not_allowed", ("HEAD",))
    assert found(table, "/c/x", method="PROPFIND") == 3
    assert found(table, "/a/x", method="DELETE") == NOT_FOUND


def test_allow_names_the_methods_of_this_host_and_path_only() -> None:
    table = RouteTable(
        [row("/a", methods="GET", host="b.example"), row("/a", methods="PUT"), row("/b", methods="POST")]
    )
    assert found(table, "/a", method="DELETE") == NoRoute("method_not_allowed", ("PUT",))


@pytest.mark.parametrize(
    ("target", "index"),
    [
        ("/api/status", 0),
        ("/api/status;x", 2),
        ("/api/%73tatus", 2),
        ("/api/status?;x", 0),
        ("/api/history/1", 1),
        ("/api/history;x/1", 1),
        ("/api/%68istory/1", 1),
        ("/api;x/history/1", 1),
        ("/%61pi/other", 2),
        ("/api/open", 3),
        ("/api/open;x", 2),
    ],
)
def test_of_several_readings_the_dearest_decides(target: str, index: int) -> None:  # R10
    rows = [
        *[row("/api/status", price=0), row("/api/history/**", price=20_000), row("/api/**"), row("/**", price=0)],
    ]
    table = RouteTable([rows[0], rows[1], row("/api/open", auth=Auth.OPTIONAL, price=5_000), rows[2], rows[3]])
    order = [0, 1, 3, 2, 4]
    result = found(table, target)
    assert isinstance(result, int)
    assert order[result] == index


@pytest.mark.parametrize("target", ["/a;x/%62", "/%61/b;x", "/a;x/b", "/a/%62"])
def test_readings_that_differ_in_one_segment_only_count_too(target: str) -> None:
    for dear in ("/*/b", "/a/*"):
        table = RouteTable([row("/a/b", price=0), row("/*/*", price=0), row("/**")])
        assert found(table, target) == 0
        table = RouteTable([row("/a/b", price=0), row(dear), row("/*/*", price=0)])
        assert found(table, target) in {0, 1}
    mixed = RouteTable([row("/a/b", price=0), row("/*/b"), row("/*/*", price=0)])
    assert found(mixed, "/a;x/%62") == 1
    assert found(RouteTable([row("/a/b", price=0), row("/a/*"), row("/*/*", price=0)]), "/%61/b;x") == 1


def test_the_table_keeps_its_rows_in_order_and_apart_from_the_callers_list() -> None:
    rows = [row("/a"), row("/b")]
    table = RouteTable(rows)
    rows.clear()
    assert [route.pattern.path for route in table.routes] == ["/a", "/b"]
    assert found(table, "/b") == 1


@pytest.mark.parametrize("pattern", [row("a"), row("/a/**/b"), row(host="a.*.b")])
def test_a_pattern_that_cannot_match_makes_no_table(pattern: Route) -> None:
    with pytest.raises(ValueError, match=r"path|host|segment|'\*'"):
        RouteTable([pattern])


def test_many_crossing_wildcards_cost_little_time() -> None:
    words = ["a", "*"]
    patterns = [[words[bits >> n & 1] for n in range(9)] for bits in range(512)]
    table = RouteTable([row("/" + "/".join(pattern)) for pattern in patterns])
    start = time.process_time()
    assert found(table, "/a/a/a/a/a/a/a/a/a") == 0
    assert found(table, "/" + "a/" * 4000) == NOT_FOUND
    assert time.process_time() - start < 0.2


def test_a_look_up_costs_the_same_with_many_services() -> None:
    def seconds(services: int) -> float:
        table = RouteTable([row(f"/s{n}/{tail}", name=f"s{n}") for n in range(services) for tail in ("status", "**")])
        target = canonical_target(f"/s{services - 1}/a/b", scheme="http", host="a.example")
        runs = []
        for _ in range(30):
            start = time.process_time()
            for _ in range(200):
                table.match("a.example", target, "GET")
            runs.append(time.process_time() - start)
        return min(runs)

    assert seconds(2_000) < 5 * seconds(10)


def first_by_hand(rows: list[Route], host: str, segments: tuple[str, ...], method: str) -> int | str:
    """The table's promise in the plainest words, one row after the other."""
    host_known = path_known = False
    for index, route in enumerate(rows):
        wanted = route.pattern
        known = wanted.host in {"", host} or (wanted.host.startswith("*.") and host.endswith(wanted.host[1:]))
        host_known = host_known or known
        if not known or not fits(parse_pattern(wanted.path), segments):
            continue
        path_known = True
        if not wanted.methods or method in wanted.methods or (method == "HEAD" and "GET" in wanted.methods):
            return index
    if path_known:
        return "method_not_allowed"
    return "not_found" if host_known or not rows else "unknown_host"


def fits(pattern: PathPattern, segments: tuple[str, ...]) -> bool:
    if len(segments) < len(pattern.segments) or (len(segments) > len(pattern.segments) and not pattern.below):
        return False
    pairs = zip(pattern.segments, segments, strict=False)
    return all(segment != "" if wanted is None else wanted == segment for wanted, segment in pairs)


_HOSTS = ["", "a.example", "*.example", "*.a.example", "b.a.example"]
_METHODS = ["", "GET", "POST", "GET POST", "HEAD"]
_WORDS = ["a", "b", "*"]
_ENDS = ["", "/", "/**"]


def drawn_row(code: int) -> Route:
    """One of 5 hosts, 5 methods, 3 ends and up to 3 segments of 3 words."""
    code, host = divmod(code, 5)
    code, methods = divmod(code, 5)
    code, end = divmod(code, 3)
    code, length = divmod(code, 4)
    words = []
    for _ in range(length):
        code, word = divmod(code, 3)
        words.append(_WORDS[word])
    return row("".join(f"/{word}" for word in words) + _ENDS[end] or "/", host=_HOSTS[host], methods=_METHODS[methods])


@settings(max_examples=int(300 * SCALE))
@given(codes=st.lists(st.integers(0, 5 * 5 * 3 * 4 * 27 - 1), max_size=12))
def test_the_table_agrees_with_trying_every_row(codes: list[int]) -> None:
    table = RouteTable([drawn_row(code) for code in codes])
    rows = list(table.routes)
    for host in ("a.example", "b.a.example", "c.b.a.example", "x", ""):
        for target in ("/", "/a", "/a/", "/a/b", "/b/a/a", "/a/a/b/", "/b/b/b/b", "/c/c"):
            for method in ("GET", "HEAD", "PUT"):
                expected = first_by_hand(rows, host, tuple(target[1:].split("/")), method)
                result = found(table, target, host=host, method=method)
                assert (result.code if isinstance(result, NoRoute) else result) == expected, (host, target, method)


def at(table: RouteTable, raw: str, *, host: str = "a.example", method: str = "GET") -> Place:
    return table.place(raw, scheme="http", host=host, method=method)


def test_a_place_is_the_same_however_often_it_is_asked_for() -> None:
    service = Service("api", Origin("http", "127.0.0.1", 1), PathRewrite("/v1", "/api"))
    get = Route(Pattern("a.example", "/v1/**", frozenset({"GET"})), service, Terms("api", "get", Msat(1)))
    post = Route(Pattern("a.example", "/v1/**", frozenset({"POST"})), service, Terms("api", "post", Msat(2)))
    other = Route(Pattern("b.example", "/v1/**"), service, Terms("api", "other", Msat(3)))
    table = RouteTable([get, post, other])
    for _ in range(3):
        assert at(table, "/v1/x?y=1") == ("/v1/x", get, "/api/x?y=1")
        assert at(table, "/v1/x?y=2") == ("/v1/x", get, "/api/x?y=2")
        assert at(table, "/v1/x?y=1", method="POST").route is post
        assert at(table, "/v1/x?y=1", host="b.example").route is other
        assert at(table, "http://a.example/v1/x?y=1") == ("/v1/x", get, "/api/x?y=1")
        assert at(table, "/v2/x") == ("/v2/x", NoRoute("not_found"), "")
        with pytest.raises(RequestError, match="host"):
            at(table, "http://a.example/v1/x?y=1", host="b.example")
        with pytest.raises(RequestError, match=r"another host|neither a path"):
            table.place("http://a.example/v1/x?y=1", scheme="https", host="a.example", method="GET")


def test_what_is_remembered_of_places_is_bounded() -> None:
    service = Service("api", Origin("http", "127.0.0.1", 1))
    table = RouteTable([Route(Pattern(), service, Terms("api", "all", Msat(1)))])
    for number in range(MAX_PLACES + 10):
        assert at(table, f"/{number}").target == f"/{number}"
    assert 0 < len(table._places) <= MAX_PLACES
    before = len(table._places)
    long = "/" + "x" * MAX_REMEMBERED_TARGET
    assert at(table, long).path == long
    assert len(table._places) == before
