from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings

from gateway.errors import RequestError
from gateway.proxy.paths import MAX_TARGET_BYTES, Target, canonical_target, rewritten_path
from gateway.proxy.services import PathRewrite
from tests.conftest import SCALE
from tests.proxy.bulk import TEXTS_PER_EXAMPLE, texts


def target(raw: str, *, scheme: str = "http", host: str = "api.example.com") -> Target:
    return canonical_target(raw, scheme=scheme, host=host)


def refusal(raw: str, *, scheme: str = "http", host: str = "api.example.com") -> str:
    with pytest.raises(RequestError) as caught:
        canonical_target(raw, scheme=scheme, host=host)
    return caught.value.code


@pytest.mark.parametrize(
    ("case", "raw"),
    [
        ("R03", "/free/../paid/x"),
        ("R03", "/free/.."),
        ("R03", "/free/./x"),
        ("R03", "/."),
        ("R04", "/free/%2e%2e/paid/x"),
        ("R04", "/free/%2E./paid/x"),
        ("R04", "/free/%2e/x"),
        ("R05", "/free/..;/paid/x"),
        ("R05", "/free/..;a=1/paid/x"),
        ("R05", "/free/.;/x"),
        ("R05", "/free/;/x"),
        ("R05", "/free/x/;jsessionid=1"),
        ("R06", "/free/..%2fpaid/x"),
        ("R06", "/free/x%2Fy"),
        ("R06", "/free/%2e%2e%2fpaid"),
        ("R07", "//evil.com/x"),
        ("R07", "//u@evil:99999/x"),
        ("R07", "///x"),
        ("R08", "/free//paid/x"),
        ("R08", "/free//"),
        ("R09", "/free\\..\\paid"),
        ("R09", "/free/..%5cpaid"),
        ("R09", "/free%5Cx"),
        ("R14", "https://api.example.com/x"),
        ("R14", "ftp://api.example.com/x"),
        ("R14", "HTTPS://api.example.com/x"),
        ("R14", "file:///etc/passwd"),
        ("R14", "http:/x"),
        ("R16", "/a#frag"),
        ("R16", "/a?#f"),
        ("R16", "/a?x=1#f"),
        ("R16", "http://api.example.com#f"),
        ("R17", "/a%"),
        ("R17", "/a%1"),
        ("R17", "/a%zz"),
        ("R17", "/a%1g"),
        ("R17", "/a%%31"),
        ("R17", "/a%00"),
        ("R17", "/a%0d%0aX:"),
        ("R17", "/a%7f"),
        ("R17", "/a%1F"),
        ("R18", "/é"),
        ("R18", "/\udcff"),
        ("R18", "/a b"),
        ("R18", "/a\tb"),
        ("R18", "/a\0"),
        ("R18", "/a\x01"),
        ("R18", "/a\x7f"),
        ("R18", "/a\r\nX: y"),
        ("R18", "/a\n"),
        ("R18", "/a?b\n"),
        ("R18", "/a?é"),
        ("R18", "/a?b c"),
        ("R18", "/a?\x00"),
        ("R26", "*"),
        ("R27", "api.example.com:443"),
        ("", ""),
        ("", "x"),
        ("", "?x"),
        ("double decoding", "/free/%252e%252e/paid"),
        ("double decoding", "/free/%25%32%65"),
        ("escaped parameters", "/free/..%3b/paid"),
        ("escaped parameters", "/free/x%3By"),
        ("overlong UTF-8", "/free/..%c0%afpaid"),
        ("overlong UTF-8", "/free/%c0%ae%C0%AE/paid"),
        ("overlong UTF-8", "/free/%e0%80%afpaid"),
        ("overlong UTF-8", "/free/%f0%80%80%af"),
        ("no URL character", '/a"b'),
        ("no URL character", "/a<b>"),
        ("no URL character", "/a^b"),
        ("no URL character", "/a`b"),
        ("no URL character", "/{a}"),
        ("no URL character", "/a|b"),
    ],
)
def test_a_path_that_servers_may_read_in_different_ways_is_refused(case: str, raw: str) -> None:
    assert refusal(raw) == "bad_path", case


@pytest.mark.parametrize(
    ("case", "raw"),
    [
        ("R13", "http://other/paid"),
        ("R13", "http://api.example.com.evil/paid"),
        ("R13", "http://api.example.co/paid"),
        ("R15", "http://u:p@api.example.com/x"),
        ("R15", "http://api.example.com@evil/x"),
        ("R15", "http://@api.example.com/x"),
        ("", "http:///x"),
        ("", "http://api.example.com:99999/x"),
        ("", "http://api.example.com\\@evil/x"),
        ("", "http://[::1/x"),
    ],
)
def test_an_absolute_form_for_another_authority_is_refused(case: str, raw: str) -> None:
    assert refusal(raw) == "host_mismatch", case


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [
        ("http://api.example.com/paid/x?y", "/paid/x", "y"),
        ("HTTP://API.Example.com.:80/paid", "/paid", None),
        ("http://api.example.com", "/", None),
        ("http://api.example.com?x=1", "/", "x=1"),
        ("http://api.example.com/?", "/", ""),
        ("http://api.example.com/a?http://other/b", "/a", "http://other/b"),
    ],
)
def test_an_absolute_form_is_read_as_its_origin_form(raw: str, path: str, query: str | None) -> None:  # R12
    found = target(raw)
    assert (found.path, found.query) == (path, query)
    assert found == target(path if query is None else f"{path}?{query}")


def test_an_absolute_form_is_measured_by_the_listeners_scheme() -> None:
    assert target("https://api.example.com/x", scheme="https").path == "/x"
    assert refusal("http://api.example.com/x", scheme="https") == "bad_path"


def test_an_absolute_form_without_a_host_header_is_refused() -> None:
    assert refusal("http://api.example.com/x", host="") == "host_mismatch"


def test_an_absolute_form_may_name_an_ipv6_address() -> None:
    assert target("http://[2001:DB8::1]:8080/x", host="2001:db8::1").path == "/x"


def test_a_dot_segment_in_an_absolute_form_is_refused() -> None:
    assert refusal("http://api.example.com/free/../paid") == "bad_path"
    assert refusal("http://api.example.com//paid") == "bad_path"


@pytest.mark.parametrize(
    ("raw", "segments"),
    [
        ("/", ("",)),
        ("/free/x", ("free", "x")),
        ("/free/x/", ("free", "x", "")),
        ("/.well-known/l402", (".well-known", "l402")),
        ("/...", ("...",)),
        ("/a.b/..c/d..", ("a.b", "..c", "d..")),
        ("/caf%C3%A9", ("café",)),
        ("/a%20b", ("a b",)),
        ("/%ff", ("\udcff",)),
        ("/~user/a-b_c", ("~user", "a-b_c")),
        ("/v1/models:run", ("v1", "models:run")),
        ("/a!$&'()*+,=@[b]", ("a!$&'()*+,=@[b]",)),
        ("/PAID/x", ("PAID", "x")),  # R11
    ],
)
def test_an_accepted_path_is_kept_as_sent_and_decoded_for_matching(raw: str, segments: tuple[str, ...]) -> None:
    assert target(raw) == Target(raw, None, segments)  # R01


@pytest.mark.parametrize(
    ("raw", "segments", "reading"),
    [
        ("/%70aid/x", ("paid", "x"), ("%70aid", "x")),  # R10
        ("/a;v=1/b", ("a", "b"), ("a;v=1", "b")),
        ("/a;", ("a",), ("a;",)),
        ("/a;x/%62", ("a", "b"), ("a;x", "%62")),
    ],
)
def test_other_common_readings_are_listed(raw: str, segments: tuple[str, ...], reading: tuple[str, ...]) -> None:
    found = target(raw)
    assert (found.path, found.segments) == (raw, segments)
    assert reading in found.readings
    assert segments not in found.readings


def test_needed_escapes_have_one_reading() -> None:
    assert target("/a%20b/%C3%A9/%5b").readings == ()


@pytest.mark.parametrize(
    "query", ['x=%2F&y=a+b&z=[1]{2}|^"', "a=../..&b=//&c=\\", "", "?", "a?b", "%", "%zz%0d%0a", "<>`;'"]
)
def test_the_query_is_passed_as_it_is(query: str) -> None:  # R19
    found = target(f"/free/x?{query}")
    assert found.query == query
    assert rewritten_path(found, PathRewrite()) == f"/free/x?{query}"


def test_the_longest_target_passes_and_one_more_byte_does_not() -> None:  # R20
    longest = "/" + "a" * (MAX_TARGET_BYTES - 1)
    assert target(longest).path == longest
    assert refusal(longest + "a") == "uri_too_long"
    assert refusal("/?" + "\0" * MAX_TARGET_BYTES) == "uri_too_long"


@pytest.mark.parametrize(
    ("raw", "strip", "prefix", "expected"),
    [
        ("/a/b?c", "", "", "/a/b?c"),
        ("/a/b?", "", "", "/a/b?"),
        ("/a/b", "/a", "", "/b"),
        ("/a", "/a", "", "/"),
        ("/a/", "/a", "", "/"),
        ("/a?x", "/a", "", "/?x"),
        ("/a/b/c", "/a/b", "", "/c"),
        ("/a/b/", "/a/b", "/v1", "/v1/"),
        ("/a/b", "/a/b", "/v1", "/v1"),
        ("/", "", "/v1", "/v1/"),
        ("/x", "", "/v1/y", "/v1/y/x"),
        ("/ab/c", "/a", "", "/ab/c"),
        ("/b/a/c", "/a", "/v1", "/v1/b/a/c"),
        ("/%61/%62%20", "/a", "/v1", "/v1/%62%20"),
        ("/a;v=1/b;w=2", "/a", "", "/b;w=2"),
        ("/caf%C3%A9/x", "/café", "", "/x"),
        ("/caf%c3%a9/x", "/caf%C3%A9", "", "/x"),
    ],
)
def test_prefixes_are_replaced_in_whole_segments(raw: str, strip: str, prefix: str, expected: str) -> None:
    assert rewritten_path(target(raw), PathRewrite(strip, prefix)) == expected


def test_refusals_do_not_repeat_the_path() -> None:
    with pytest.raises(RequestError) as caught:
        target("/free/../secret-token")
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        "/" + "%41" * 2729,
        "/" + ";" * 8000,
        "/" + "a;/" * 2729,
        "/" + "." * 8000,
        "/" + "/".join("." * 3 for _ in range(2000)),
        "a" * 8190,
        "http://" + "a." * 4090,
        "/" + "%c0" * 2729,
    ],
)
def test_hostile_paths_cost_little_time(raw: str) -> None:
    start = time.process_time()
    with suppress(RequestError):
        target(raw)
    assert time.process_time() - start < 0.1


def target_or_code(raw: str) -> Target | str:
    try:
        return target(raw)
    except RequestError as refused:
        return refused.code


_TRICKS = [
    *["/", "//", "/..", "/.", "%2e", "%2E", "%2f", "%5c", ";", "?", "#", "%00", "%25", "%c0%af", "%41", "%zz", "%3b"],
    *["free", "paid", "é", "\udcff", "http://", "api.example.com", ":80", "%C3%A9", "%20", "/*", "\N{KELVIN SIGN}"],
]
_PIECES = [*map(chr, range(128)), *_TRICKS * 4]


@settings(max_examples=int(20_000 / TEXTS_PER_EXAMPLE * SCALE))
@given(raws=texts(_PIECES))
def test_any_text_is_either_a_target_or_a_declared_refusal(raws: list[str]) -> None:
    for raw in [*raws, *(f"/{raw}" for raw in raws)]:
        found = target_or_code(raw)
        if isinstance(found, str):
            assert found in {"bad_path", "host_mismatch", "uri_too_long"}
            continue
        sent = rewritten_path(found, PathRewrite())
        assert raw.endswith(sent) or found.path == "/"
        assert target(sent) == found
        assert sent.isascii()
        assert len(found.segments) == found.path.count("/")
