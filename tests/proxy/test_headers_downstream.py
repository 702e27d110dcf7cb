from __future__ import annotations

import pytest

from gateway.errors import BadUpstreamResponse
from gateway.proxy.headers import downstream_headers
from gateway.proxy.relay import compose_head, head_of_lines
from gateway.proxy.response_head import response_head
from gateway.proxy.response_headers import simple_lines


@pytest.mark.parametrize("status", [99, 100, 101, 103, 199, 600, 999, 0, -1])  # S06, S07
def test_a_status_that_is_no_final_one_is_refused(status: int) -> None:
    with pytest.raises(BadUpstreamResponse):
        downstream_headers(status, [])


@pytest.mark.parametrize("status", [200, 204, 302, 304, 402, 418, 599])
def test_nothing_is_added(status: int) -> None:  # S10
    assert downstream_headers(status, []) == []


@pytest.mark.parametrize(
    ("case", "headers"),
    [
        ("S01", [(b"Content-Length", b"5"), (b"Content-Length", b"5")]),
        ("S01", [(b"Content-Length", b"5"), (b"content-length", b"6")]),
        ("S01", [(b"Content-Length", b"5, 5")]),
        ("S01", [(b"Content-Length", b"+5")]),
        ("S01", [(b"Content-Length", b"")]),
        ("S01", [(b"Content-Length", b"18446744073709551616")]),
        ("S01", [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")]),
        ("S01", [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")]),
        ("S01", [(b"Transfer-Encoding", b"gzip")]),
        ("S01", [(b"Transfer-Encoding", b"gzip, chunked")]),
        ("S01", [(b"Transfer-Encoding", b"")]),
        ("S13", [(b"X", b"a\x01b")]),
        ("S13", [(b"X", b"a\rb")]),
        ("S13", [(b"X", b"a\nSet-Cookie: x")]),
        ("S13", [(b"X", b"\x7f")]),
        ("S15", [(b"X ", b"a")]),
        ("S15", [(b"", b"a")]),
        ("S15", [(b"X:Y", b"a")]),
        ("", [(b"Connection", b"Content-Length"), (b"Content-Length", b"5")]),
        ("", [(b"Connection", b"Content-Encoding"), (b"Content-Encoding", b"gzip")]),
    ],
)
def test_an_answer_that_breaks_http_is_refused(case: str, headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadUpstreamResponse):
        downstream_headers(200, headers)


def test_the_upstreams_fields_pass_as_they_are() -> None:  # S10, S11, S14, S20, S22
    headers = [
        *[(b"Server", b"nginx"), (b"Date", b"x"), (b"content-TYPE", b"text/plain"), (b"Content-Encoding", b"gzip")],
        *[
            (b"Set-Cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
            (b"Set-Cookie", b"a=1"),
            (b"ETag", b'"x"'),
            (b"X", b"\xe9\xff"),
        ],
        *[
            (b"Location", b"http://10.0.0.5:9000/x"),
            (b"WWW-Authenticate", b"Basic"),
            (b"Via", b"1.1 up"),
            (b"X_Y", b"z"),
        ],
        *[(b"Access-Control-Allow-Origin", b"https://a"), (b"Content-Length", b"5"), (b"X", b"")],
    ]
    assert downstream_headers(200, headers) == headers


@pytest.mark.parametrize(
    "name",
    [
        *[
            b"Connection",
            b"Keep-Alive",
            b"Proxy-Connection",
            b"Proxy-Authenticate",
            b"TE",
            b"Trailer",
            b"Upgrade",
        ],  # S23
        *[b"trailer", b"UPGRADE", b"Proxy-Authentication-Info"],
    ],
)
def test_fields_for_the_upstreams_connection_stay_here(name: bytes) -> None:
    assert downstream_headers(200, [(name, b"x"), (b"A", b"b")]) == [(b"A", b"b")]


def test_transfer_encoding_is_not_passed_on() -> None:
    assert downstream_headers(200, [(b"Transfer-Encoding", b"Chunked")]) == []


def test_fields_that_connection_names_stay_here() -> None:  # S21
    headers = [(b"Connection", b"X-A, close"), (b"x-a", b"1"), (b"X-B", b"2"), (b"connection", b"X-C"), (b"X-C", b"3")]
    assert downstream_headers(200, headers) == [(b"X-B", b"2")]


@pytest.mark.parametrize(
    ("status", "length", "expected"),
    [
        (200, b"5", b"5"),
        (200, b"010", b"10"),
        (200, b"0", b"0"),
        (304, b"5", b"5"),
        (204, b"5", None),
        (204, b"0", None),
    ],
)
def test_content_length_is_rewritten_where_it_may_be(
    status: int, length: bytes, expected: bytes | None
) -> None:  # S08, S09
    fields = downstream_headers(status, [(b"A", b"b"), (b"content-Length", length), (b"C", b"d")])
    kept = [] if expected is None else [(b"content-Length", expected)]
    assert fields == [(b"A", b"b"), *kept, (b"C", b"d")]


def test_refusals_do_not_repeat_the_value() -> None:
    with pytest.raises(BadUpstreamResponse) as caught:
        downstream_headers(200, [(b"Set-Cookie", b"session=secret\x01")])
    assert "secret" not in str(caught.value)


_SHORT = [
    (200, [(b"Date", b"x"), (b"Content-Length", b"3"), (b"x-oDD", b"a"), (b"x-oDD", b"b")]),
    (200, [(b"Date", b"x"), (b"Connection", b"Keep-Alive"), (b"Keep-Alive", b"timeout=5"), (b"Content-Length", b"0")]),
    (200, [(b"Date", b"x"), (b"Connection", b"close"), (b"X", b"\xe4\tb")]),
    (200, [(b"date", b"x"), (b"Transfer-Encoding", b"chunked"), (b"Cache-Control", b"public")]),
    (204, [(b"Date", b"x"), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")]),
    (304, [(b"Date", b"x"), (b"Content-Length", b"99"), (b"ETag", b'"1"')]),
]
_NEED_A_CLOSER_LOOK = [
    (200, [(b"Date", b"x"), (b"Connection", b"X-Hop, keep-alive"), (b"X-Hop", b"a")]),
    (200, [(b"Date", b"x"), (b"Content-Length", b"003")]),
    (204, [(b"Date", b"x"), (b"Content-Length", b"0")]),
    (200, [(b"Date", b"x"), (b"Upgrade", b"h2c"), (b"Content-Length", b"3")]),
    (200, [(b"Content-Length", b"3")]),
]


@pytest.mark.parametrize(("status", "fields"), _SHORT)
def test_the_short_way_to_a_head_gives_the_same_bytes(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    head = response_head(status, b"OK", "1.1", fields, to_head=False)
    simple = simple_lines(head)
    assert simple is not None
    for chunked, connection in ((False, b""), (True, b"close")):
        ordinary = compose_head(head, downstream_headers(status, fields), chunked=chunked, connection=connection)
        assert head_of_lines(head, simple[0], chunked=chunked, connection=connection) == ordinary


@pytest.mark.parametrize(("status", "fields"), _NEED_A_CLOSER_LOOK)
def test_the_short_way_declines_what_needs_a_closer_look(status: int, fields: list[tuple[bytes, bytes]]) -> None:
    assert simple_lines(response_head(status, b"OK", "1.1", fields, to_head=False)) is None


@pytest.mark.parametrize("value", [b"a\r\nX: b", b"a\nb", b"a\rb", b"a\0b", b"a\x7fb", b"a\x0bb"])
def test_the_short_way_to_a_head_lets_no_control_character_pass(value: bytes) -> None:
    head = response_head(200, b"OK", "1.1", [(b"Date", b"x"), (b"X", value)], to_head=False)
    with pytest.raises(BadUpstreamResponse):
        simple_lines(head)
