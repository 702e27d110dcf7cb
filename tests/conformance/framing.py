"""R50 to R62, K01, K02, K04 and K09: where a request ends, and what follows it on its connection."""

from __future__ import annotations

from tests.conformance.rows import Row, get, head, post, refused, relayed, upstream

_CHUNKED = b"Transfer-Encoding: chunked"
_WHOLE = b"3\r\nabc\r\n0\r\n\r\n"
_LINE = b"POST /free/x HTTP/1.1"


def _lengths(value: bytes) -> Row:
    return refused("R51", repr(value)[2:-1], post(b"Content-Length: " + value, body=b"abc"), "bad_framing")


def _coding(case: str, value: bytes, code: str = "bad_framing", status: int = 400) -> Row:
    sent = post(b"Transfer-Encoding: " + value, body=_WHOLE)
    return refused(case, repr(value)[2:-1], sent, code, status=status)


def _chunk(what: str, body: bytes) -> Row:
    return Row("R58", what, post(_CHUNKED, body=body), 400, "bad_framing", close=True, may_begin=True, quirk=True)


def _chunked(case: str, what: str, body: bytes, *fields: bytes, kept: bytes = b"abc") -> Row:
    seen = upstream(_LINE, framing=_CHUNKED, body=kept)
    return Row(case, what, post(_CHUNKED, *fields, body=body), close=True, seen=(seen,))


FRAMING = [
    refused("R50", "length, then chunked", post(b"Content-Length: 3", _CHUNKED, body=_WHOLE), "bad_framing"),
    refused("R50", "chunked, then length", post(_CHUNKED, b"Content-Length: 3", body=_WHOLE), "bad_framing"),
    refused("R51", "twice the same", post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"), "bad_framing"),
    refused("R51", "twice", post(b"Content-Length: 3", b"content-length: 4", body=b"abcd"), "bad_framing"),
    *map(_lengths, (b"3, 3", b"+1", b"-1", b"0x1", b"1_0", b"", b"1 0", b"18446744073709551616", b"9223372036854775808",
                    b"\xb2", b"3;a")),
    Row("R52", "a leading zero", post(b"Content-Length: 010", body=b"0123456789"),
        seen=(upstream(_LINE, framing=b"Content-Length: 10", body=b"0123456789"),)),
    *(_coding("R53", value) for value in (b"identity", b"gzip", b"xchunked", b'"chunked"', b"chunked;a=b",
                                          b"\xa0chunked", b"chunked, gzip")),
    _coding("R53", b"\x0bchunked", "bad_header"),
    _coding("R54", b"gzip, chunked", "unsupported_transfer_coding", 501),
    _coding("R55", b",chunked"),
    _coding("R55", b""),
    Row("R55", "a tab before it", post(b"Transfer-Encoding:\tchunked", body=_WHOLE), close=True,
        seen=(upstream(_LINE, framing=_CHUNKED, body=b"abc"),)),
    _coding("R56", b"chunked, chunked"),
    refused("R56", "two lines", post(_CHUNKED, _CHUNKED, body=_WHOLE), "bad_framing"),
    refused("R57", "in HTTP/1.0", post(_CHUNKED, body=_WHOLE, version=b"1.0"), "bad_framing"),
    _chunk("LF ends", b"3\nabc\n0\n\n"),
    _chunk("LF after the data", b"3\r\nabc\n0\r\n\r\n"),
    _chunk("0x1", b"0x1\r\na\r\n0\r\n\r\n"),
    _chunk("+1", b"+1\r\na\r\n0\r\n\r\n"),
    _chunk("0_1", b"0_1\r\na\r\n0\r\n\r\n"),
    _chunk("a space", b"1 \r\na\r\n0\r\n\r\n"),
    _chunk("no size", b"\r\na\r\n0\r\n\r\n"),
    _chunk("overflow", b"10000000000000001\r\na\r\n0\r\n\r\n"),
    _chunk("more than its size", b"1\r\nab\r\n0\r\n\r\n"),
    _chunk("CR CR in an extension", b"1\r\r;a\r\na\r\n0\r\n\r\n"),
    _chunk("bad after good", b"3\r\nabc\r\nx\r\n"),
    _chunked("R59", "extensions", b"3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n"),
    Row("R60", "bogus gzip", post(b"Content-Encoding: gzip", b"Content-Length: 3", body=b"abc"),
        seen=(upstream(_LINE, b"Content-Encoding: gzip", framing=b"Content-Length: 3", body=b"abc"),)),
    Row("R61", "GET with a length", get(b"/free/x", b"Content-Length: 3") + b"abc",
        seen=(upstream(b"GET /free/x HTTP/1.1", framing=b"Content-Length: 3", body=b"abc"),)),
    Row("R61", "GET in chunks", get(b"/free/x", _CHUNKED) + _WHOLE, close=True,
        seen=(upstream(b"GET /free/x HTTP/1.1", framing=_CHUNKED, body=b"abc"),)),
    Row("R61", "GET with no body said", get(b"/free/x", b"Content-Length: 0"),
        seen=(upstream(b"GET /free/x HTTP/1.1"),)),
    Row("R61", "POST without a body", post(), seen=(upstream(_LINE, framing=b"Content-Length: 0"),)),
    _chunked("R62", "trailers", b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nAuthorization: x\r\n\r\n", b"Trailer: X-Sum"),
    Row("R62", "a bad trailer", post(_CHUNKED, body=b"3\r\nabc\r\n0\r\nX(: 1\r\n\r\n"), 400, "bad_framing", close=True,
        may_begin=True, quirk=True),
]  # fmt: skip


def _pipelined(count: int) -> Row:
    targets = [b"/free/%d" % number for number in range(count)]
    seen = tuple(upstream(b"GET %b HTTP/1.1" % target) for target in targets)
    return Row("K01", f"{count} requests", b"".join(map(get, targets)), before=count - 1, seen=seen)


def _after_a_good_one(what: str, bad: bytes, code: str, status: int = 400) -> Row:
    seen = upstream(b"GET /free/x HTTP/1.1")
    return Row("K02", what, get(b"/free/x") + bad, status, code, close=True, before=1, seen=(seen,))


def _token(version: bytes, *fields: bytes, close: bool) -> Row:
    what = b" ".join([version, *fields]).decode()
    answer = tuple(relayed(close=close, old=version == b"1.0").split(b"\r\n")[:-2])
    return Row("K04", what, head(b"GET /free/x HTTP/" + version, *fields), close=close, fields=answer,
               seen=(upstream(b"GET /free/x HTTP/1.1"),))  # fmt: skip


FOLLOWING = [
    *map(_pipelined, (2, 32, 100)),
    _after_a_good_one("a line that is none", b"GET-bad\r\n\r\n", "bad_request"),
    _after_a_good_one("a bad field", get(b"/free/y", b"X : a"), "bad_header"),
    _after_a_good_one("a bad path", get(b"/free/../paid/x"), "bad_path"),
    _after_a_good_one("a long target", get(b"/free/" + b"x" * 8_191), "uri_too_long", 414),
    _token(b"1.1", close=False),
    _token(b"1.1", b"Connection: keep-alive", close=False),
    _token(b"1.1", b"Connection: close", close=True),
    _token(b"1.1", b"Connection: CLOSE , x-a", close=True),
    _token(b"1.1", b"Connection: x-a", b"Connection: close", close=True),
    _token(b"1.0", close=True),
    _token(b"1.0", b"Connection: Keep-Alive", close=False),
    _token(b"1.0", b"Connection: close", close=True),
    Row("K09", "a chunked request, answered here", post(_CHUNKED, body=_WHOLE, target=b"/paid/x"), 402,
        "payment_required", close=True),
    _chunked("K09", "a chunked request, forwarded", _WHOLE),
]  # fmt: skip
