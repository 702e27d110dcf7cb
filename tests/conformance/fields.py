"""R38 to R49 and R63 to R72: header syntax, and what is forwarded of a header."""

from __future__ import annotations

from tests.conformance.rows import (
    CREDENTIAL,
    PAID_IDENTITY,
    Row,
    get,
    head,
    passes,
    refused,
    upstream,
)


def _field(case: str, line: bytes, code: str = "bad_header", status: int = 400) -> Row:
    what = repr(line)[2:-1]
    return refused(
        case, what if len(what) < 60 else f"{what[:20]} and so on", get(b"/free/x", line), code, status=status
    )


def _many(count: int) -> tuple[bytes, ...]:
    return tuple(b"X-%d: 1" % number for number in range(count))


SYNTAX = [
    _field("R38", b"X: a\r\n b"),
    _field("R38", b"X: a\r\n\tb"),
    _field("R38", b" X: a"),
    _field("R39", b"X : a"),
    _field("R39", b"X\t: a"),
    _field("R40", b"no colon"),
    _field("R40", b": empty name"),
    _field("R40", b"X(: a"),
    _field("R40", b"X\xe9: a"),
    *(_field("R41", b"X: a" + byte + b"b") for byte in (b"\x01", b"\x7f", b"\x00", b"\r")),
    _field("R41", b"X-Content-Length: a\x01b"),
    _field("R41", b"X: a\x01b Host bytearray("),
    _field("R42", b"X: \xff"),
    _field("R42", b"X: ad\xffmin"),
    passes("R43", "UTF-8", "X: é中😀".encode()),
    passes("R44", "underscores", b"X_Forwarded_For: 1.2.3.4", b"X_Other: 1", b"X-Other: 2", kept=(b"X-Other: 2",)),
    passes("R45", "99 fields beside Host", *_many(99)),
    refused("R45", "100 fields beside Host", get(b"/free/x", *_many(100)), "too_many_headers", status=431),
    refused("R45", "128 fields beside Host", get(b"/free/x", *_many(128)), "too_many_headers", status=431),
    passes("R46", "a long field", b"X: " + b"a" * 8_189),
    _field("R46", b"X: " + b"a" * 8_191, "header_too_large", 431),
    _field("R46", b"X" * 8_191 + b": a", "header_too_large", 431),
    _field("R46", b"X: bytearray(" + b"a" * 8_191, "header_too_large", 431),
    passes("R47", "duplicates", b"X-CaSe: 1", b"x-b: 2", b"X-CASE: 3", b"x-b: 4", b"x-b: 2"),
    passes("R48", "two Authorization lines", b"Authorization: Basic YTpi", b"Authorization: Bearer c", quirk=True),
    Row("R48", "two Authorization lines, one paid",
        get(b"/paid/x", b"Authorization: Bearer c", b"Authorization: " + CREDENTIAL), quirk=True,
        seen=(upstream(b"GET /paid/x HTTP/1.1", b"Authorization: Bearer c", identity=PAID_IDENTITY),)),
    passes("R49", "two Cookie lines", b"Cookie: a=b", b"Cookie: c=d"),
]  # fmt: skip


def _trusted(case: str, what: str, lines: tuple[bytes, ...], hops: tuple[bytes, ...]) -> Row:
    """At the site behind trusted proxies: ``hops`` are client and proxies as the upstream is told."""
    seen = upstream(b"GET /free/x HTTP/1.1", host=b"a.example", hops=hops)
    return Row(case, what, head(b"GET /free/x HTTP/1.1", *lines, host=b"a.example"), seen=(seen,), hosts=True)


_US = b"127.0.0.1"
_HOP_BY_HOP = (
    b"Keep-Alive: timeout=5", b"Proxy-Connection: keep-alive", b"TE: trailers", b"Trailer: X-Sum",
    b"HTTP2-Settings: AAMAAABkAAQAAP__", b"Proxy-Authorization: Basic YTpi",
)  # fmt: skip
_STRIPPED = (b"Authorization", b"authorization")

FORWARDED = [
    Row("R63", "a nominated field", get(b"/free/x", b"Connection: close, X-Secret", b"X-Secret: 1", b"X-Kept: 2"),
        close=True, seen=(upstream(b"GET /free/x HTTP/1.1", b"X-Kept: 2"),)),
    passes("R63", "in other letters", b"connection: x-secret", b"X-SECRET: 1", b"x-secret: 2", kept=()),
    passes("R64", "fields for one hop", *_HOP_BY_HOP, b"X-Kept: 1", kept=(b"X-Kept: 1",)),
    *(_field("R65", b"Connection: " + name, "bad_connection_header")
      for name in (b"Host", b"Authorization", b"X-Forwarded-For", b"Content-Length", b"close, content-type", b"Via")),
    passes("R66", "X-Forwarded-For of anybody", b"X-Forwarded-For: 1.2.3.4", b"x-forwarded-for: 5.6.7.8", kept=()),
    _trusted("R66", "one hop", (b"X-Forwarded-For: 203.0.113.9",), (b"203.0.113.9", _US)),
    _trusted("R66", "the rightmost untrusted", (b"X-Forwarded-For: 1.2.3.4, 203.0.113.9, 10.1.1.1",),
             (b"203.0.113.9", b"10.1.1.1", _US)),
    _trusted("R66", "several lines", (b"X-Forwarded-For: 1.2.3.4", b"X-Forwarded-For: 203.0.113.9"),
             (b"203.0.113.9", _US)),
    _trusted("R66", "garbage stops", (b"X-Forwarded-For: 203.0.113.9, x, 10.1.1.1",), (b"10.1.1.1", _US)),
    _trusted("R66", "IPv6 with a port", (b"X-Forwarded-For: [2001:db8::1]:443",), (b"2001:db8::1", _US)),
    _trusted("R66", "IPv4 in IPv6", (b"X-Forwarded-For: ::ffff:203.0.113.9",), (b"203.0.113.9", _US)),
    passes("R67", "Forwarded of anybody", b"Forwarded: for=1.2.3.4;proto=https", kept=()),
    _trusted("R67", "one hop", (b"Forwarded: for=203.0.113.9;proto=https",), (b"203.0.113.9", _US)),
    _trusted("R67", "the rightmost untrusted",
             (b'Forwarded: for=1.2.3.4, for="[2001:db8::1]:1"', b"Forwarded: for=10.1.1.1"),
             (b"2001:db8::1", b"10.1.1.1", _US)),
    _trusted("R67", "garbage stops", (b"Forwarded: for=203.0.113.9, for=_hidden, for=10.1.1.1",), (b"10.1.1.1", _US)),
    passes("R68", "forged trust", b"X-L402-Service: paid", b"x-l402-token-id: 1", b"X-Real-IP: 1.2.3.4",
           b"X-Gateway-A: 1", b"X-HTTP-Method-Override: DELETE", b"X-Original-URL: /paid/x", b"Proxy: evil", kept=()),
    Row("R69", "a paid credential", get(b"/paid/x", b"Authorization: " + CREDENTIAL, b"X-A: 1"),
        seen=(upstream(b"GET /paid/x HTTP/1.1", b"X-A: 1", identity=PAID_IDENTITY),)),
    Row("R69", "a credential on a free path", get(b"/free/x", b"Authorization: " + CREDENTIAL),
        seen=(upstream(b"GET /free/x HTTP/1.1"),)),
    passes("R69", "another scheme's credential", b"Authorization: Basic YTpi"),
    passes("R70", "a Via", b"Via: 1.1 other", b"Via: 1.0 l402gw, 1.1 l402gw"),
    Row("R70", "the third time here", get(b"/free/x", b"Via: 1.1 l402gw", b"Via: 1.0 l402gw, 1.1 L402GW"), 508,
        "loop_detected"),
    passes("R71", "nothing is added"),
    passes("R72", "names keep their case", b"eTAG: 1", b"CONTENT-type: a", b"x-OdD: 1", b"ACCEPT: */*"),
]  # fmt: skip
