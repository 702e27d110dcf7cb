from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.l402.credentials import credential_text, read_credentials
from gateway.proxy.headers import RawHeaders, check_request_head, credential_fields, max_forwards
from tests.conftest import SCALE
from tests.proxy.bulk import TEXTS_PER_EXAMPLE, texts

HOST = (b"Host", b"api.example.com")
CODES = {
    *["bad_request", "http_version", "method_not_allowed", "too_many_headers", "header_too_large", "bad_header"],
    *["bad_host", "bad_framing", "unsupported_transfer_coding", "bad_connection_header", "expectation_failed"],
}


def refusal(*headers: tuple[bytes, bytes], method: str = "POST", version: tuple[int, int] = (1, 1)) -> str | None:
    try:
        check_request_head(method, version, headers)
    except RequestError as refused:
        return refused.code
    return None


def with_host(*headers: tuple[bytes, bytes], method: str = "POST", version: tuple[int, int] = (1, 1)) -> str | None:
    return refusal(HOST, *headers, method=method, version=version)


@pytest.mark.parametrize(
    ("case", "method", "version", "code"),
    [
        ("R21", "GET", (0, 9), "bad_request"),
        ("R22", "GET", (2, 0), "http_version"),
        ("R22", "PRI", (2, 0), "http_version"),
        ("R22", "GET", (3, 0), "http_version"),
        ("R22", "GET", (1, 2), "http_version"),
        ("R27", "CONNECT", (1, 1), "method_not_allowed"),
        ("R28", "TRACE", (1, 1), "method_not_allowed"),
        ("R29", "get", (1, 1), "bad_request"),
        ("R29", "G@T", (1, 1), "bad_request"),
        ("R29", "", (1, 1), "bad_request"),
        ("R29", "GET\n", (1, 1), "bad_request"),
        ("", "GET", (1, 1), None),
        ("", "GET", (1, 0), None),
        ("", "M-SEARCH", (1, 1), None),
        ("R31", "HEAD", (1, 1), None),
        ("R26", "OPTIONS", (1, 1), None),
    ],
)
def test_method_and_version(case: str, method: str, version: tuple[int, int], code: str | None) -> None:
    assert with_host(method=method, version=version) == code, case


@pytest.mark.parametrize(
    ("case", "hosts", "version", "code"),
    [
        ("R32", [], (1, 1), "bad_host"),
        ("R23", [], (1, 0), None),
        ("R33", [b"a.example", b"a.example"], (1, 1), "bad_host"),
        ("R33", [b"a.example", b"b.example"], (1, 1), "bad_host"),
        ("R33", [b"a.example", b"b.example"], (1, 0), "bad_host"),
        ("R34", [b"a b/c@d"], (1, 1), "bad_host"),
        ("R34", [b"a, b"], (1, 1), "bad_host"),
        ("R34", [b""], (1, 1), "bad_host"),
        ("R34", [b""], (1, 0), "bad_host"),
        ("R34", [b"u:p@a"], (1, 1), "bad_host"),
        ("R34", [b"a#b"], (1, 1), "bad_host"),
        ("R34", [b"a:99999"], (1, 1), "bad_host"),
        ("R34", [b"[::1"], (1, 1), "bad_host"),
        ("R34", "é".encode(), (1, 1), "bad_host"),
        ("R36", [b"A.Example.:80"], (1, 1), None),
    ],
)
def test_a_request_has_one_readable_host(
    case: str, hosts: list[bytes] | bytes, version: tuple[int, int], code: str | None
) -> None:
    lines = [hosts] if isinstance(hosts, bytes) else hosts
    assert refusal(*((b"hOST", host) for host in lines), version=version) == code, case


@pytest.mark.parametrize(
    ("case", "name", "value", "code"),
    [
        ("R38", b"X", b"a\r\n b", "bad_header"),
        ("R39", b"X ", b"a", "bad_header"),
        ("R40", b"", b"a", "bad_header"),
        ("R40", b"X(", b"a", "bad_header"),
        ("R40", b"X,Y", b"a", "bad_header"),
        ("R40", b"X\xc3\xa9", b"a", "bad_header"),
        ("R41", b"X", b"a\x01", "bad_header"),
        ("R41", b"X", b"\x7f", "bad_header"),
        ("R41", b"X", b"a\0b", "bad_header"),
        ("R41", b"X", b"a\rb", "bad_header"),
        ("R41", b"X", b"a\nb", "bad_header"),
        ("R42", b"X", b"\xff", "bad_header"),
        ("R42", b"X", b"ad\xffmin", "bad_header"),
        ("R42", b"X", b"\xc3", "bad_header"),
        ("R42", b"X", b"\xed\xb2\x80", "bad_header"),
        ("R43", b"X", "é€😀".encode(), None),
        ("", b"X", b"", None),
        ("", b"X", b"a\tb", None),
        ("", b"!#$%&'*+-.^_`|~", b"a", None),
    ],
)
def test_names_are_tokens_and_values_are_clean_utf_8(case: str, name: bytes, value: bytes, code: str | None) -> None:
    assert with_host((name, value)) == code, case
    assert with_host((b"A", b"b"), (name, value), (b"C", b"d")) == code, case


def test_half_a_character_is_not_completed_by_the_next_field() -> None:
    assert with_host((b"X", b"\xc3"), (b"Y", b"\xa9")) == "bad_header"


def test_header_limits_are_exact() -> None:  # R45, R46
    assert with_host(*[(b"X", b"y")] * 99) is None
    assert with_host(*[(b"X", b"y")] * 100) == "too_many_headers"
    assert with_host((b"X", b"y" * 8190)) is None
    assert with_host((b"X", b"y" * 8191)) == "header_too_large"
    assert with_host((b"X" * 8191, b"y")) == "header_too_large"
    assert with_host(*[(b"X" * 190, b"y" * 7998)] * 8) is None
    assert with_host(*[(b"X" * 190, b"y" * 8000)] * 8) == "header_too_large"


@pytest.mark.parametrize(
    ("case", "lengths", "code"),
    [
        ("R51", [b"5", b"5"], "bad_framing"),
        ("R51", [b"5", b"6"], "bad_framing"),
        ("R51", [b"5, 5"], "bad_framing"),
        ("R51", [b"+5"], "bad_framing"),
        ("R51", [b"-1"], "bad_framing"),
        ("R51", [b"0x1"], "bad_framing"),
        ("R51", [b"1_0"], "bad_framing"),
        ("R51", [b""], "bad_framing"),
        ("R51", [b"1 0"], "bad_framing"),
        ("R51", [b"18446744073709551616"], "bad_framing"),
        ("R51", [b"9223372036854775808"], "bad_framing"),
        ("R51", ["٣".encode()], "bad_framing"),
        ("", [b"9" * 8000], "bad_framing"),
        ("R52", [b"010"], None),
        ("", [b"0" * 18 + b"5"], None),
        ("", [b"0" * 19 + b"5"], "bad_framing"),
        ("", [b"0"], None),
        ("", [b"9223372036854775807"], None),
    ],
)
def test_content_length_is_one_whole_number(case: str, lengths: list[bytes], code: str | None) -> None:
    assert with_host(*((b"content-LENGTH", length) for length in lengths)) == code, case


@pytest.mark.parametrize(
    ("case", "codings", "code"),
    [
        ("R53", [b"identity"], "bad_framing"),
        ("R53", [b"gzip"], "bad_framing"),
        ("R53", [b"xchunked"], "bad_framing"),
        ("R53", [b'"chunked"'], "bad_framing"),
        ("R53", [b"chunked;a=b"], "bad_framing"),
        ("R53", ["\xa0chunked".encode()], "bad_framing"),
        ("R54", [b"gzip, chunked"], "unsupported_transfer_coding"),
        ("R54", [b"gzip,\tCHUNKED"], "unsupported_transfer_coding"),
        ("R55", [b",chunked"], "bad_framing"),
        ("R55", [b"chunked,"], "bad_framing"),
        ("R55", [b""], "bad_framing"),
        ("R55", [b"\tchunked"], None),
        ("R56", [b"chunked, chunked"], "bad_framing"),
        ("R56", [b"chunked", b"chunked"], "bad_framing"),
        ("R56", [b"gzip", b"chunked"], "bad_framing"),
        ("", [b"chunked, gzip"], "bad_framing"),
        ("", [b"chun ked"], "bad_framing"),
        ("", [b"a b, chunked"], "bad_framing"),
        ("", [b"chunked"], None),
        ("", [b"Chunked"], None),
    ],
)
def test_the_only_transfer_coding_is_chunked(case: str, codings: list[bytes], code: str | None) -> None:
    assert with_host(*((b"Transfer-encoding", coding) for coding in codings)) == code, case


def test_a_body_is_framed_in_one_way_only() -> None:
    length, chunked = (b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")
    assert with_host(length, chunked) == "bad_framing"  # R50
    assert with_host(chunked, length) == "bad_framing"  # R50
    assert with_host(chunked, version=(1, 0)) == "bad_framing"  # R57
    assert with_host((b"Content-Length", b"5"), (b"Transfer-Encoding", b"")) == "bad_framing"  # R55


@pytest.mark.parametrize(
    "name",
    [
        *[b"Host", b"Authorization", b"X-Forwarded-For", b"Content-Length"],  # R65
        *[b"authorization", b"X-FORWARDED-HOST", b"x-forwarded", b"Forwarded", b"Via", b"Content-Type"],
        *[b"X_Forwarded_For", b"content.type", b"a b", b"a;b", b"close X", b'"Host"', "é".encode()],
    ],
)
def test_connection_does_not_take_away_what_must_reach_the_upstream(name: bytes) -> None:
    assert with_host((b"Connection", name)) == "bad_connection_header"
    assert with_host((b"Connection", b"keep-alive, " + name)) == "bad_connection_header"
    assert with_host((b"Connection", b"close"), (b"CONNECTION", name)) == "bad_connection_header"


@pytest.mark.parametrize(
    "value",
    [
        b"close",
        b"keep-alive",
        b"Keep-Alive, TE",
        b"Upgrade, HTTP2-Settings",
        b"X-Secret",
        b"Transfer-Encoding",
        b"",
        b", ,",
    ],
)
def test_connection_may_name_what_is_for_this_hop(value: bytes) -> None:
    assert with_host((b"Connection", value)) is None


@pytest.mark.parametrize(
    ("case", "values", "version", "code"),
    [
        ("R73", [b"100-continue"], (1, 1), None),
        ("R73", [b"100-Continue"], (1, 1), None),
        ("R75", [b"banana"], (1, 1), "expectation_failed"),
        ("R75", [b"100-continue, banana"], (1, 1), "expectation_failed"),
        ("R75", [b"100-continue", b"banana"], (1, 1), "expectation_failed"),
        ("R75", [b""], (1, 1), "expectation_failed"),
        ("R76", [b"banana"], (1, 0), None),
    ],
)
def test_the_only_expectation_is_100_continue(
    case: str, values: list[bytes], version: tuple[int, int], code: str | None
) -> None:
    assert with_host(*((b"Expect", value) for value in values), version=version) == code, case


@pytest.mark.parametrize(
    ("method", "version", "upgrade", "code"),
    [
        ("GET", (1, 1), b"websocket", None),
        ("POST", (1, 1), b"WebSocket", "bad_request"),
        ("GET", (1, 0), b"websocket", "bad_request"),
        ("POST", (1, 1), b"h2c", None),  # R78
        ("POST", (1, 1), b"foo", None),  # R79
        ("POST", (1, 1), b"h2c, websocket", "bad_request"),
    ],
)
def test_a_websocket_is_opened_with_get_in_http_1_1(
    method: str, version: tuple[int, int], upgrade: bytes, code: str | None
) -> None:  # R83
    headers = [(b"Connection", b"Upgrade"), (b"Upgrade", upgrade)]
    assert with_host(*headers, method=method, version=version) == code


def test_several_authorization_and_cookie_lines_are_accepted() -> None:  # R48, R49
    assert with_host((b"Authorization", b"LSAT a:b"), (b"Authorization", b"L402 a:b")) is None
    assert with_host((b"Cookie", b"a=b"), (b"Cookie", b"c=d")) is None


def test_refusals_do_not_repeat_the_header() -> None:
    with pytest.raises(RequestError) as caught:
        check_request_head("GET", (1, 1), [HOST, (b"Authorization", b"L402 secret\x01")])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "number"), [(b"0", 0), (b"5", 5), (b"-1", None), (b"x", None), (b"", None), (b"9" * 10, None)]
)
def test_max_forwards_is_read_where_it_is_a_number(value: bytes, number: int | None) -> None:  # R77
    assert max_forwards([(b"A", b"b"), (b"max-FORWARDS", value)]) == number
    assert max_forwards([]) is None


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Connection", b"," * 8190)] * 7,
        [(b"Connection", b"a," * 4095)] * 7,
        [(b"Transfer-Encoding", b"gzip," * 1600)],
        [(b"X", b"\xc3\xa9" * 4095)] * 7,
    ],
)
def test_hostile_heads_cost_little_time(headers: RawHeaders) -> None:
    start = time.process_time()
    with_host(*headers)
    assert time.process_time() - start < 0.1


_NAMES = [b"Host", b"Connection", b"Transfer-Encoding", b"Content-Length", b"Expect", b"Upgrade", b"X-A", b"Via", b""]
_PIECES = [
    *map(chr, range(256)),
    *["chunked", "close", "100-continue", "websocket", ",", ", ", "host", "gzip", "5", "a.b", ":80", "Via", '"'] * 12,
]


@settings(max_examples=int(5_000 / TEXTS_PER_EXAMPLE * SCALE))
@given(values=texts(_PIECES))
def test_any_head_is_accepted_or_refused_with_a_declared_code(values: list[str]) -> None:
    for number, value in enumerate(values):
        for name in _NAMES:
            for encoding in ("latin-1", "utf-8"):
                fields = [(name, value.encode(encoding)), *[(b"Host", b"a")] * (number % 2)]
                assert refusal(*fields, version=(1, number % 3 % 2)) in {None, *CODES}


CREDENTIAL_NAMES = ["Authorization", "MACAROON", "token", "Grpc-Metadata-Macaroon", "grpc-metadata-token", "X-Token"]


@given(st.lists(st.tuples(st.sampled_from(CREDENTIAL_NAMES), st.sampled_from(["L402 a:b", "0201", "Basic x", "é"]))))
def test_no_credential_is_overlooked(fields: list[tuple[str, str]]) -> None:
    raw = [HOST, *((name.encode(), value.encode()) for name, value in fields)]
    found = check_request_head("GET", (1, 1), raw)
    everything = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
    assert credential_text(credential_fields(raw, found)) == credential_text(everything)
    assert read_credentials(credential_fields(raw, found)) == read_credentials(everything)


def test_what_the_gateway_looks_at_is_returned_in_order() -> None:
    found = check_request_head("GET", (1, 1), [(b"ORIGIN", b"a"), HOST, (b"X-Other", b"c"), (b"Origin", b"b")])
    assert found == {b"origin": [b"a", b"b"], b"host": [HOST[1]]}
