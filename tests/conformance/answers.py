"""S01 to S25: what upstreams answer, and what their clients get of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

End = Literal["open", "fin", "reset", "serve"]
DATE = b"Date: Thu, 01 Jan 1970 00:00:00 GMT"
_CHUNKED = b"Transfer-Encoding: chunked"
_LENGTH = b"Content-Length: 3"
_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Served:
    """Bytes from an upstream and what must come of them.

    ``end``: what the upstream does after its answer. With ``serve`` it takes the next request on the same connection,
    with ``open`` the gateway has to close it.
    """

    case: str
    what: str
    sent: bytes
    end: End = "open"
    status: int = 502
    code: str = "bad_upstream_response"
    head: bytes = b""
    """The answer's head, byte for byte, where it comes from the upstream."""
    body: bytes = b""
    cut: bool = False
    """The client's connection ends in the middle of ``body``; 502 where nothing had been sent yet."""
    close: bool = False
    method: bytes = b"GET"
    version: bytes = b"1.1"
    service: bytes = b"free"
    split: bool = True
    repeat: int = 1
    again: bool = False
    """The gateway may ask once more."""
    quirk: bool = False

    def __str__(self) -> str:
        return f"{self.case} {self.what}"


def message(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", body: bytes = b"") -> bytes:
    return b"\r\n".join([status, DATE, *lines]) + b"\r\n\r\n" + body


def bad(case: str, what: str, sent: bytes, *, end: End = "open", repeat: int = 1, quirk: bool = False) -> Served:
    """An answer that the client gets a 502 for."""
    return Served(case, what, sent, end, repeat=repeat, quirk=quirk)


def cut(case: str, what: str, *lines: bytes, body: bytes, end: End, version: bytes = b"1.1") -> Served:
    """An answer that breaks off behind ``abc``."""
    head = message() if _LENGTH.partition(b":")[0] not in b"".join(lines) else message(*lines)
    return Served(case, what, message(*lines, body=body), end, 200, "", head, b"abc", cut=True, version=version,
                  quirk=True)  # fmt: skip


def good(
    case: str,
    what: str,
    *lines: bytes,
    kept: Sequence[bytes] | None = None,
    status: bytes = b"HTTP/1.1 200 OK",
    body: bytes = b"",
    passed: bytes | None = None,
    end: End = "serve",
    close: bool = False,
    method: bytes = b"GET",
    version: bytes = b"1.1",
    split: bool = True,
    quirk: bool = False,
    before: bytes = b"",
) -> Served:
    """An answer that passes: its head with the lines ``kept`` (all of them), its body or what is ``passed`` of it."""
    last = (b"Connection: close",) if close else ()
    head = message(*(lines if kept is None else kept), *last, status=b"HTTP/1.1" + status[8:])
    sent = before + message(*lines, status=status, body=body)
    answered = int(status[9:12])
    passed = body if passed is None else passed
    return Served(case, what, sent, end, answered, "", head, passed, close=close, method=method, version=version,
                  split=split, quirk=quirk)  # fmt: skip


def _length(value: bytes) -> Served:
    return bad("S01", f"a length of {value!r}", message(b"Content-Length: " + value, body=b"abc"))


def _coding(value: bytes) -> Served:
    return bad("S01", f"a coding of {value!r}", message(b"Transfer-Encoding: " + value, body=b"3\r\nabc\r\n0\r\n\r\n"))


def _bad_line(case: str, line: bytes, end: End = "open", *, quirk: bool = False) -> Served:
    return bad(case, repr(line)[2:-1], message(line, _LENGTH, body=b"abc"), end=end, quirk=quirk)


_ORDINARY = message(_LENGTH, body=b"abc")

ANSWERS = [
    bad("S01", "two lengths, the same", message(_LENGTH, _LENGTH, body=b"abc")),
    bad("S01", "two lengths", message(_LENGTH, b"Content-Length: 4", body=b"abcd")),
    *map(_length, (b"3, 3", b"+3", b"-3", b"0x3", b"3a", b"", b"18446744073709551616")),
    bad("S01", "length and chunked", message(_LENGTH, _CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n")),
    bad("S01", "chunked and length", message(_CHUNKED, _LENGTH, body=b"3\r\nabc\r\n0\r\n\r\n")),
    *map(_coding, (b"gzip", b"gzip, chunked", b"chunked, chunked", b"identity", b"chunked;a=b", b"")),
    bad("S01", "chunked twice", message(_CHUNKED, _CHUNKED, body=b"3\r\nabc\r\n0\r\n\r\n")),
    bad("S01", "chunked in HTTP/1.0", message(_CHUNKED, status=b"HTTP/1.0 200 OK", body=b"3\r\nabc\r\n0\r\n\r\n")),
    bad("S02", "garbage", b"garbage\r\n\r\n"),
    Served("S02", "no answer", b"", "fin", method=b"POST"),
    Served("S02", "no answer to what may be sent twice", b"", "fin", again=True),
    bad("S02", "half a head", b"HTTP/1.1 200 OK\r\nX: a\r\n", end="fin"),
    bad("S02", "a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n"),
    bad("S02", "HTTP/2.0", b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    bad("S02", "a field of 9 KB", message(b"X: " + b"a" * 9_000, _LENGTH, body=b"abc")),
    bad("S02", "200 fields", message(*[b"X-%d: a" % number for number in range(200)], _LENGTH, body=b"abc")),
    bad("S02", "fields without end", b"HTTP/1.1 200 OK\r\n" + b"X-A: %b\r\n" % (b"a" * 100) * 100, repeat=1_000),
    Served("S03", "silence", b"", status=504, code="upstream_timeout", service=b"slow"),
    Served("S03", "half a head", b"HTTP/1.1 200 OK\r\nX: a\r\n", status=504, code="upstream_timeout", service=b"slow",
           split=False),
    good("S04", "100 interim answers", _LENGTH, body=b"abc", before=_INTERIM * 100),
    bad("S04", "101 interim answers", _INTERIM * 101 + _ORDINARY),
    bad("S04", "interim answers without end", _INTERIM * 10, repeat=1_000),
    good("S05", "103", _LENGTH, body=b"abc", before=b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", quirk=True),
    good("S05", "103 for HTTP/1.0", _LENGTH, body=b"abc", before=b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
         version=b"1.0", close=True, quirk=True),
    bad("S06", "101", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nabc"),
    bad("S06", "101 without a word", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    *(bad("S07", status.decode(), message(_LENGTH, status=b"HTTP/1.1 " + status, body=b"abc"))
      for status in (b"099 OK", b"999 OK", b"600 OK", b"000 OK", b"1000 OK")),
    good("S08", "204", status=b"HTTP/1.1 204 No Content"),
    good("S08", "204 with a length", _LENGTH, kept=(), status=b"HTTP/1.1 204 No Content", body=b"abc", passed=b"",
         end="open", split=False),
    good("S08", "204 in chunks", _CHUNKED, kept=(), status=b"HTTP/1.1 204 No Content", body=b"3\r\nabc\r\n0\r\n\r\n",
         passed=b"", end="open", split=False),
    good("S08", "304", b'ETag: "1"', status=b"HTTP/1.1 304 Not Modified"),
    good("S08", "304 with a length and a body", _LENGTH, status=b"HTTP/1.1 304 Not Modified", body=b"abc", passed=b"",
         end="open", split=False),
    good("S09", "a length", _LENGTH, method=b"HEAD"),
    good("S09", "chunked", _CHUNKED, kept=(), method=b"HEAD"),
    good("S09", "a length and a body", _LENGTH, body=b"abc", passed=b"", method=b"HEAD", end="open", split=False),
    good("S10", "no Content-Type, no Server", _LENGTH, body=b"abc"),
    good("S10", "odd ones", b"content-TYPE: a/b; c", b"SERVER: d", _LENGTH, body=b"abc"),
    good("S11", "bogus gzip", b"Content-Encoding: gzip", _LENGTH, body=b"abc"),
    _bad_line("S12", b"X: a\r\n b", quirk=True),
    bad("S12", "LF ends", b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", quirk=True),
    *(_bad_line("S13", b"X: a" + byte + b"b") for byte in (b"\x01", b"\x00", b"\x7f", b"\r")),
    bad("S13", "a control in the reason", message(_LENGTH, status=b"HTTP/1.1 200 O\x01K", body=b"abc")),
    good("S14", "obs-text", b"X: caf\xe9 \xff\xfe", _LENGTH, status=b"HTTP/1.1 200 \xe9t\xe9", body=b"abc"),
    _bad_line("S15", b"X : a"),
    _bad_line("S15", b"X\t: a"),
    _bad_line("S15", b": a"),
    cut("S16", "FIN", _CHUNKED, body=b"3\r\nabc\r\n", end="fin"),
    cut("S16", "RST", _CHUNKED, body=b"3\r\nabc\r\n", end="reset"),
    cut("S16", "FIN in a chunk", _CHUNKED, body=b"5\r\nabc", end="fin"),
    cut("S16", "a bad chunk", _CHUNKED, body=b"3\r\nabc\r\nx\r\n", end="open"),
    cut("S16", "LF behind a chunk", _CHUNKED, body=b"3\r\nabc\n0\r\n\r\n", end="open"),
    cut("S16", "no last chunk for HTTP/1.0", _CHUNKED, body=b"3\r\nabc\r\n", end="fin", version=b"1.0"),
    cut("S17", "FIN", b"Content-Length: 9", body=b"abc", end="fin"),
    cut("S17", "RST", b"Content-Length: 9", body=b"abc", end="reset"),
    cut("S18", "RST", body=b"abc", end="reset"),
    cut("S18", "RST, for HTTP/1.0", body=b"abc", end="reset", version=b"1.0"),
    good("S18", "FIN", kept=(_CHUNKED,), body=b"abc", end="fin"),
    good("S19", "bytes behind the body", _LENGTH, body=b"abcdef", passed=b"abc", end="open", split=False),
    good("S20", "302", b"Location: http://10.0.0.1/secret", b"Content-Length: 0", status=b"HTTP/1.1 302 Found"),
    good("S21", "a nominated field", b"Connection: X-A, keep-alive", b"X-A: 1", b"x-b: 2", b"Keep-Alive: timeout=5",
         b"Proxy-Authenticate: Basic", b"Upgrade: h2c", _LENGTH, kept=(b"x-b: 2", _LENGTH), body=b"abc"),
    _bad_line("S21", b"Connection: Content-Type", "serve"),
    good("S22", "two cookies", b"Set-Cookie: a=b", b"set-cookie: c=d", _LENGTH, body=b"abc"),
    good("S23", "trailers", _CHUNKED, b"Trailer: X-Sum", kept=(_CHUNKED,),
         body=b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", passed=b"abc"),
    good("S24", "a second answer in the same segment", _LENGTH, body=b"abc" + _ORDINARY, passed=b"abc", end="open",
         split=False),
    good("S25", "chunked", _CHUNKED, kept=(), body=b"3\r\nabc\r\n0\r\n\r\n", passed=b"abc", version=b"1.0", close=True),
    good("S25", "a length", _LENGTH, body=b"abc", version=b"1.0", close=True),
    good("S25", "until the end", kept=(), body=b"abc", end="fin", version=b"1.0", close=True),
]  # fmt: skip
