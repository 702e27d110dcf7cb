"""What the reader of upstream answers accepts and refuses (RFC 9110, 9112), whole and cut at every byte."""

from __future__ import annotations

import pytest

from gateway.errors import BadUpstreamResponse
from gateway.proxy.connection import RECEIVE_BYTES
from gateway.proxy.response_head import Framing, ResponseHead
from gateway.proxy.response_parser import ResponseParser

H = b"HTTP/1.1 200 OK\r\n"


class Received:
    def __init__(self) -> None:
        self.head: ResponseHead | None = None
        self.body = b""

    def on_read(self) -> None:
        pass

    def on_head(self, head: ResponseHead) -> None:
        assert self.head is None
        self.head = head

    def on_body(self, data: bytes) -> None:
        assert data
        assert self.head is not None
        self.body += data


def read(data: bytes, *, split: bool, to_head: bool = False, eof: bool = False) -> tuple[Received, ResponseParser]:
    parser, received = ResponseParser(), Received()
    parser.expect(received, to_head=to_head)
    step = 1 if split else RECEIVE_BYTES
    for part in [data[i : i + step] for i in range(0, len(data), step)]:
        if not parser.complete:
            parser.feed(memoryview(part))
    if eof:
        parser.feed_eof()
    return received, parser


REFUSED = {
    "two lengths, same": H + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "two lengths, different": H + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nab",
    "length in a list": H + b"Content-Length: 2, 2\r\n\r\nab",
    "length with a sign": H + b"Content-Length: +2\r\n\r\nab",
    "length negative": H + b"Content-Length: -2\r\n\r\nab",
    "length in hex": H + b"Content-Length: 0x2\r\n\r\nab",
    "length empty": H + b"Content-Length: \r\n\r\nab",
    "length overflowing": H + b"Content-Length: 18446744073709551618\r\n\r\nab",
    "length with chunked": H + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked with length": H + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "unknown coding": H + b"Transfer-Encoding: gzip\r\n\r\nab",
    "unknown coding, then chunked": H + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked not last": H + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": H + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked on two lines": H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding empty": H + b"Transfer-Encoding: \r\n\r\n",
    "chunked on HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "status 600": b"HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
    "status 999": b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 X\r\nContent-Length: 0\r\n\r\n",
    "version 2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version 0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "garbage": b"garbage\r\n\r\n",
    "no HTTP at all": b"SSH-2.0-OpenSSH_9.2\r\n",
    "space before the colon": H + b"X : 1\r\nContent-Length: 0\r\n\r\n",
    "no name": H + b": 1\r\nContent-Length: 0\r\n\r\n",
    "folded line": H + b"X: 1\r\n 2\r\nContent-Length: 0\r\n\r\n",
    "control in a value": H + b"X: a\x01\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": H + b"X: a\x00\r\nContent-Length: 0\r\n\r\n",
    "bare CR in a value": H + b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
    "bare LF line ends": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "control in the reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
    "101 unasked": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n",
    "101 unasked and bare": b"HTTP/1.1 101 Switching Protocols\r\n\r\nxx",
    "interim with a length": b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n" + H + b"Content-Length: 0\r\n\r\n",
    "101 interims": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 101 + H + b"Content-Length: 0\r\n\r\n",
    "129 fields": H + b"X: 1\r\n" * 129 + b"\r\n",
    "field of 9 KB": H + b"X: " + b"a" * 9_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "head of 40 KB": H + (b"X: " + b"a" * 4_000 + b"\r\n") * 10 + b"Content-Length: 0\r\n\r\n",
    "head without end": H + b"X: " + b"a" * 40_000,
    "chunk size with 0x": H + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n",
    "chunk size negative": H + b"Transfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n",
    "chunk size overflowing": H + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nab\r\n0\r\n\r\n",
    "chunk line ended by LF": H + b"Transfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n",
    "chunk longer than its size": H + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    "chunk extension with a control": H + b"Transfer-Encoding: chunked\r\n\r\n2;\x01\r\nab\r\n0\r\n\r\n",
    "trailer broken": H + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX : 1\r\n\r\n",
    "endless trailers": H + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + (b"X: " + b"a" * 997 + b"\r\n") * 140,
    "endless chunk extension": H + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 140_000,
}


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("case", REFUSED)
def test_an_answer_that_breaks_http_is_refused(case: str, split: bool) -> None:
    with pytest.raises(BadUpstreamResponse):
        read(REFUSED[case], split=split)


CUT = {
    "nothing": b"",
    "half a status line": b"HTTP/1.",
    "half a head": H + b"X: 1\r\n",
    "interim only": b"HTTP/1.1 100 Continue\r\n\r\n",
    "length not reached": H + b"Content-Length: 10\r\n\r\nabc",
    "no chunk": H + b"Transfer-Encoding: chunked\r\n\r\n",
    "half a chunk": H + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    "no last chunk": H + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    "no end after the last chunk": H + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
}


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("case", CUT)
def test_an_answer_that_ends_too_early_is_refused(case: str, split: bool) -> None:
    with pytest.raises(BadUpstreamResponse):
        read(CUT[case], split=split, eof=True)


TAKEN: dict[str, tuple[bytes, Framing, bytes, bool]] = {
    "length": (H + b"Content-Length: 2\r\n\r\nab", Framing.LENGTH, b"ab", True),
    "length zero": (H + b"Content-Length: 0\r\n\r\n", Framing.LENGTH, b"", True),
    "length with a leading zero": (H + b"Content-Length: 02\r\n\r\nab", Framing.LENGTH, b"ab", True),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab", Framing.LENGTH, b"ab", True),
    "chunked": (H + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", Framing.CHUNKED, b"ab", True),
    "chunked, other case": (H + b"Transfer-Encoding:\tChunked \r\n\r\n0\r\n\r\n", Framing.CHUNKED, b"", True),
    "chunked with extensions and trailers": (
        H + b'Transfer-Encoding: chunked\r\n\r\n2;a=b;c="d"\r\nab\r\n0;x\r\nSet-Cookie: a=b\r\n\r\n',
        Framing.CHUNKED,
        b"ab",
        True,
    ),
    "until close": (H + b"\r\nab", Framing.CLOSE, b"ab", False),
    "asked to close": (H + b"Connection: close\r\nContent-Length: 2\r\n\r\nab", Framing.LENGTH, b"ab", False),
    "asked to close in a list": (H + b"Connection: X, Close\r\nContent-Length: 0\r\n\r\n", Framing.LENGTH, b"", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nab", Framing.LENGTH, b"ab", False),
    "HTTP/1.0 kept": (
        b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nab",
        Framing.LENGTH,
        b"ab",
        True,
    ),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", Framing.NONE, b"", True),
    "204 with a length": (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", Framing.NONE, b"", False),
    "304": (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", Framing.NONE, b"", True),
    "304 with chunked": (b"HTTP/1.1 304 NM\r\nTransfer-Encoding: chunked\r\n\r\n", Framing.NONE, b"", False),
    "interims first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + H
        + b"Content-Length: 1\r\n\r\nZ",
        Framing.LENGTH,
        b"Z",
        True,
    ),
    "a hundred interims": (
        b"HTTP/1.1 102 P\r\n\r\n" * 100 + H + b"Content-Length: 0\r\n\r\n",
        Framing.LENGTH,
        b"",
        True,
    ),
    "128 fields": (H + b"X: 1\r\n" * 127 + b"Content-Length: 0\r\n\r\n", Framing.LENGTH, b"", True),
    "head of 30 KB": (
        H + (b"X: " + b"a" * 7_500 + b"\r\n") * 4 + b"Content-Length: 0\r\n\r\n",
        Framing.LENGTH,
        b"",
        True,
    ),
}


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("case", TAKEN)
def test_a_proper_answer_is_read_to_its_end(case: str, split: bool) -> None:
    data, framing, body, reusable = TAKEN[case]
    received, parser = read(data, split=split, eof=framing is Framing.CLOSE)
    assert received.head is not None
    assert (received.head.framing, received.body, parser.complete) == (framing, body, True)
    assert parser.reusable is reusable
    assert b"Set-Cookie" not in dict(received.head.headers)
    assert b"Link" not in dict(received.head.headers)


@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
def test_names_order_duplicates_and_eight_bit_bytes_stay_as_sent(split: bool) -> None:
    lines = [(b"X-CaSe", b"1"), (b"x-b", b"\xff\xe9"), (b"X-CASE", b"3"), (b"ETag", b'"\xc3\xa9"'), (b"Empty", b"")]
    head = b"HTTP/1.1 299 \xc3\xa9t\xe9\r\n" + b"".join(b"%b:  %b \t\r\n" % line for line in lines) + b"\r\n"
    received, _ = read(head, split=split)
    assert received.head is not None
    assert received.head.headers == lines
    assert (received.head.status, received.head.reason, received.head.version) == (299, b"\xc3\xa9t\xe9", (1, 1))


EXTRA = {
    "after a length": (H + b"Content-Length: 2\r\n\r\n", b"ab", b"cd"),
    "another answer": (H + b"Content-Length: 2\r\n\r\n", b"ab", H + b"Content-Length: 1\r\n\r\nX"),
    "after chunks": (H + b"Transfer-Encoding: chunked\r\n\r\n", b"ab", b"2\r\nab\r\n0\r\n\r\nX"),
    "after 204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", b"x"),
    "after an announced close": (H + b"Connection: close\r\nContent-Length: 2\r\n\r\n", b"ab", b"cd"),
}


@pytest.mark.parametrize("case", EXTRA)
def test_bytes_after_the_end_reach_nobody_and_end_the_connection(case: str) -> None:
    head, body, more = EXTRA[case]
    data = head + (more if head.endswith(b"chunked\r\n\r\n") else body + more)
    received, parser = read(data, split=False)
    assert (received.body, parser.complete, parser.reusable) == (body, True, False)


HEADS = {
    "length": (b"Content-Length: 10\r\n", b"", True),
    "length zero": (b"Content-Length: 0\r\n", b"", True),
    "no framing": (b"X: 1\r\n", b"", True),
    "chunked": (b"Transfer-Encoding: chunked\r\n", b"", True),
    "length and a body": (b"Content-Length: 2\r\n", b"ab", False),
    "chunked and a body": (b"Transfer-Encoding: chunked\r\n", b"2\r\nab\r\n0\r\n\r\n", False),
    "chunked and half a chunk size": (b"Transfer-Encoding: chunked\r\n", b"0\r", False),
    "chunked and a last chunk": (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", False),
    "no framing and a body": (b"X: 1\r\n", b"ab", False),
}


@pytest.mark.parametrize("case", HEADS)
def test_the_answer_to_head_has_no_body_and_what_follows_ends_the_connection(case: str) -> None:
    line, more, reusable = HEADS[case]
    received, parser = read(H + line + b"\r\n" + more, split=False, to_head=True)
    assert received.head is not None
    assert (received.head.framing, received.body, parser.complete, parser.reusable) == (
        Framing.NONE,
        b"",
        True,
        reusable,
    )
    if reusable:
        again = Received()
        parser.expect(again, to_head=False)
        parser.feed(H + b"Content-Length: 3\r\n\r\nnew")
        assert (again.body, parser.complete, parser.reusable) == (b"new", True, True)


def test_the_answer_to_head_keeps_its_length_and_may_come_in_pieces() -> None:
    received, parser = read(H + b"Content-Length: 10\r\n\r\n", split=True, to_head=True)
    assert received.head is not None
    assert (received.head.content_length, parser.reusable) == (10, True)


def test_one_parser_reads_many_answers_without_mixing_their_heads() -> None:
    parser = ResponseParser()
    for n in range(50):
        received = Received()
        parser.expect(received, to_head=n % 7 == 3)
        length = b"Content-Length: %d\r\n\r\n" % n
        parser.feed(b"HTTP/1.1 2%02d N\r\nX-N: %d\r\n" % (n if n != 4 else 99, n) + length)
        if n % 7 != 3 and n:
            parser.feed(b"b" * n)
        assert parser.reusable
        assert received.head is not None
        assert received.head.headers[0] == (b"X-N", b"%d" % n)
        assert received.body == (b"" if n % 7 == 3 else b"b" * n)
