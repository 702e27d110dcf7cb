from __future__ import annotations

import pytest
from hypothesis import given, settings

from gateway.errors import RequestError
from gateway.proxy.fields import HOP_BY_HOP, RawHeaders
from gateway.proxy.headers import upstream_headers
from gateway.proxy.services import Origin, Service
from tests.conftest import SCALE
from tests.proxy.bulk import TEXTS_PER_EXAMPLE, texts

SERVICE = Service("weather", Origin("http", "10.0.0.5", 9000))
OWN = {b"host", b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"}


def sent(
    *headers: tuple[bytes, bytes],
    service: Service = SERVICE,
    client_ip: str = "192.0.2.1",
    client_host: str = "api.example.com",
    identity: tuple[tuple[str, str], ...] = (),
    proxies: tuple[str, ...] = (),
) -> list[tuple[bytes, bytes]]:
    return upstream_headers(
        [(b"Host", b"api.example.com"), *headers],
        service=service,
        client_ip=client_ip,
        client_scheme="https",
        client_host=client_host,
        identity=identity,
        proxies=proxies,
    )


def passed(*headers: tuple[bytes, bytes], service: Service = SERVICE) -> list[tuple[bytes, bytes]]:
    """The client's own fields among those that are sent."""
    fields = sent(*headers, service=service)
    own = sent(service=service)
    assert fields[0] == own[0]
    return [field for field in fields if field not in own]


def values(fields: RawHeaders, name: bytes) -> list[bytes]:
    return [value for key, value in fields if key.lower() == name.lower()]


def test_nothing_is_added_but_what_tells_who_asked() -> None:  # R71
    assert sent() == [
        (b"Host", b"10.0.0.5:9000"),
        (b"Via", b"1.1 l402gw"),
        (b"X-Forwarded-For", b"192.0.2.1"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"api.example.com"),
        (b"Forwarded", b"for=192.0.2.1;host=api.example.com;proto=https"),
    ]


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (Origin("http", "up.example", 80), b"up.example"),
        (Origin("https", "up.example", 8443), b"up.example:8443"),
        (Origin("http", "::1", 9000), b"[::1]:9000"),
    ],
)
def test_the_upstream_sees_its_configured_host(origin: Origin, authority: bytes) -> None:  # R37
    fields = sent(service=Service("s", origin))
    assert values(fields, b"host") == [authority]


def test_spelling_order_and_duplicates_are_kept() -> None:  # R47, R49, R72
    fields = [
        *[
            (b"ETag", b"1"),
            (b"X-CaSe", b"1"),
            (b"x-b", b"2"),
            (b"X-CASE", b"3"),
            (b"Cookie", b"a=b"),
            (b"cookie", b"c=d"),
        ],
        *[(b"X-CaSe", b"1"), (b"accept", b""), (b"If-Match", b'"x"'), (b"X", "é".encode()), (b"Range", b"bytes=0-1")],
    ]
    assert passed(*fields) == fields  # R43


@pytest.mark.parametrize(
    "name",
    [
        *[b"Keep-Alive", b"Proxy-Connection", b"TE", b"Upgrade", b"Trailer", b"HTTP2-Settings"],  # R62, R64, R78, R79
        *[b"Proxy-Authorization", b"Proxy-Authenticate", b"Connection", b"Transfer-Encoding", b"transfer.encoding"],
        *[b"Content-Length", b"content-LENGTH", b"Expect", b"eXPECT", b"Host", b"HOST"],  # R52, R74
    ],
)
def test_fields_for_this_hop_stay_here(name: bytes) -> None:
    assert passed((name, b"1")) == []


@pytest.mark.parametrize(
    "name",
    [
        *[
            b"X-Forwarded-For",
            b"X-Forwarded-Host",
            b"X-Forwarded-Proto",
            b"X-Forwarded",
            b"x-forwarded-anything",
        ],  # R66
        *[b"Forwarded", b"X-Real-IP", b"X-L402-Token-Id", b"X-L402-Anything", b"X-Gateway-User"],  # R67, R68
        *[
            b"X-Original-URL",
            b"X-Rewrite-URL",
            b"X-HTTP-Method-Override",
            b"X-Method-Override",
            b"X-HTTP-Method",
            b"Proxy",
        ],
        *[
            b"X_Forwarded_For",
            b"X_L402_Token_Id",
            b"Some_Header",
            b"X-Real_IP",
            b"X.Forwarded.For",
            b"X.Real-IP",
        ],  # R44
        *[b"x-FORWARDED-for", b"forwarded", b"x-real-ip"],
    ],
)
def test_a_client_cannot_say_what_only_the_gateway_knows(name: bytes) -> None:
    assert passed((name, b"6.6.6.6")) == []


def test_fields_that_connection_names_stay_here() -> None:  # R63
    fields = [(b"Connection", b"close, X-Secret"), (b"x-SECRET", b"1"), (b"connection", b"X-Two"), (b"X-Two", b"2")]
    assert passed(*fields, (b"X-Three", b"3")) == [(b"X-Three", b"3")]


def test_the_word_close_names_no_field() -> None:
    assert passed((b"Connection", b"close"), (b"Close", b"1")) == [(b"Close", b"1")]


def test_connection_cannot_take_away_what_the_gateway_adds() -> None:
    fields = sent((b"Connection", b"X-L402-Token-Id, X-Key"), identity=(("X-L402-Token-Id", "ab"),))
    assert values(fields, b"x-l402-token-id") == [b"ab"]


def test_via_is_appended() -> None:  # R70
    assert values(sent((b"Via", b"1.0 fred, 1.1 l402gw"), (b"via", b"1.1 p (x)")), b"via") == [
        b"1.0 fred, 1.1 l402gw",
        b"1.1 p (x)",
        b"1.1 l402gw",
    ]


@pytest.mark.parametrize(
    "lines",
    [
        [b"1.1 l402gw"] * 3,
        [b"1.1 l402gw, 1.0 L402GW,HTTP/1.1  l402gw (x)"],
        [b"1.1 a, 1.1 l402gw", b"1.1 l402gw, 2 l402gw"],
    ],
)
def test_a_request_that_runs_in_circles_is_refused(lines: list[bytes]) -> None:  # R70
    with pytest.raises(RequestError) as caught:
        sent(*((b"VIA", line) for line in lines))
    assert caught.value.code == "loop_detected"


def test_other_gateways_in_via_are_no_loop() -> None:
    assert values(sent((b"Via", b"1.1 l402gw-2, l402gw, 1.1 x l402gw, 1.1 l402gw, 1.1 l402gw")), b"via")


@pytest.mark.parametrize(
    ("value", "expected"), [(b"5", b"4"), (b"1", b"0"), (b"0", b"0"), (b"x", b"x"), (b"-1", b"-1"), (b"", b"")]
)
def test_max_forwards_counts_down(value: bytes, expected: bytes) -> None:  # R77
    assert passed((b"Max-Forwards", value)) == [(b"Max-Forwards", expected)]


def test_set_headers_replace_the_clients_and_the_gateways() -> None:
    service = Service(
        "s",
        SERVICE.origin,
        set_headers=(
            ("X-Api-Key", "k\u00e9y"),
            ("Authorization", "Bearer up"),
            ("X-Forwarded-Host", "pub"),
            ("Host", "v.example"),
        ),
    )
    fields = sent((b"x-api-key", b"c"), (b"X.Api.Key", b"c"), (b"Authorization", b"Basic eA=="), service=service)
    assert values(fields, b"x-api-key") == ["k\u00e9y".encode()]
    assert values(fields, b"authorization") == [b"Bearer up"]
    assert values(fields, b"x-forwarded-host") == [b"pub"]
    assert values(fields, b"host") == [b"10.0.0.5:9000"]
    assert b"c" not in [value for _, value in fields]


@pytest.mark.parametrize(
    "name",
    ["Connection", "Transfer-Encoding", "content-length", "Expect", "Via", "TE", "Upgrade", "Keep-Alive", "Trailer"],
)
def test_framing_and_hop_by_hop_fields_cannot_be_set(name: str) -> None:
    service = Service("s", SERVICE.origin, set_headers=((name, "evil"),))
    assert b"evil" not in [value for _, value in sent(service=service)]


@pytest.mark.parametrize(("name", "value"), [("X Y", "a"), ("", "a"), ("X", "a\r\nY: b"), ("X", "a\0"), ("é", "a")])
def test_what_is_no_header_field_is_never_sent(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="not a header field"):
        sent(service=Service("s", SERVICE.origin, set_headers=((name, value),)))


def test_identity_is_sent_and_cannot_break_the_line() -> None:
    fields = sent(identity=(("X-L402-Token-Id", "ab"), ("X-L402-Service", "weather")))
    assert (b"X-L402-Token-Id", b"ab") in fields
    assert (b"X-L402-Service", b"weather") in fields
    with pytest.raises(ValueError, match="control"):
        sent(identity=(("X-L402-Service", "a\r\nX-Evil: 1"),))


def test_the_chain_of_trusted_proxies_is_passed_on() -> None:  # R66, R67
    fields = sent(client_ip="2001:db8::7", proxies=("10.0.0.1", "::1"), client_host="2001:db8::1")
    assert values(fields, b"x-forwarded-for") == [b"2001:db8::7, 10.0.0.1, ::1"]
    assert values(fields, b"x-forwarded-host") == [b"[2001:db8::1]"]
    assert values(fields, b"forwarded") == [
        b'for="[2001:db8::7]";host="[2001:db8::1]";proto=https, for=10.0.0.1, for="[::1]"'
    ]


def test_an_unknown_client_and_a_missing_host_are_not_invented() -> None:  # R23
    fields = sent(client_ip="", client_host="")
    assert values(fields, b"x-forwarded-for") == []
    assert values(fields, b"x-forwarded-host") == []
    assert values(fields, b"forwarded") == [b"for=unknown;proto=https"]


def test_a_host_with_a_port_is_quoted_in_forwarded() -> None:
    assert values(sent(client_host="a.example:81"), b"forwarded") == [b'for=192.0.2.1;host="a.example:81";proto=https']


_NAME_PIECES = [
    *"abXY-_.!",
    *["X-Forwarded-", "X-L402-", "X-Gateway-", "For", "Forwarded", "Host", "Connection", "TE", "Via", "Content-Length"]
    * 2,
    *[
        "Transfer-Encoding",
        "Upgrade",
        "Authorization",
        "L402 ",
        "Macaroon",
        "Expect",
        "X-Real-IP",
        "Keep-Alive",
        "Trailer",
    ]
    * 2,
]


@settings(max_examples=int(5_000 / TEXTS_PER_EXAMPLE * SCALE))
@given(names=texts(_NAME_PIECES), contents=texts(_NAME_PIECES))
def test_whatever_the_client_names_its_fields_the_upstream_sees_ours_alone(
    names: list[str], contents: list[str]
) -> None:
    fields = [
        (name.encode() or b"X", f"mark {content}".encode()) for name, content in zip(names, contents, strict=True)
    ]
    for name, value in passed(*fields):
        key = name.lower().translate(bytes.maketrans(b"._!", b"---"))
        assert key not in HOP_BY_HOP | {b"host", b"content-length", b"expect", b"x-real-ip", b"forwarded"}
        assert not key.startswith((b"x-forwarded", b"x-l402-", b"x-gateway-"))
        assert b"_" not in name
        assert (name, value) in fields
