"""Bodies and heads through a real server and a real upstream: every framing, both ways, byte for byte."""

from __future__ import annotations

import pytest

from gateway.errors import RequestError
from tests.proxy.front import client, front
from tests.proxy.loops import on_both_loops
from tests.proxy.payloads import noise, pieces
from tests.proxy.raw_upstream import RawConnection, RawUpstream, answering, answering_once_then, chunked, plain

SIZES = [0, 1, 65_536, 5_000_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@on_both_loops
async def test_a_response_body_arrives_byte_for_byte(framing: str, size: int) -> None:
    body = noise(size)
    answer = {
        "length": plain(body),
        "chunked": chunked(pieces(body), b"Trailer: X", trailer=b"X: 1\r\n"),
        "close": b"HTTP/1.1 200 OK\r\n\r\n" + body,
    }[framing]
    script = answering_once_then(answer) if framing == "close" else answering(answer)
    async with RawUpstream(script) as upstream, front(upstream.origin) as gate, client(gate.port) as caller:
        for _ in range(2):
            got = await caller.get()
            assert got.complete
            assert got.body == body
            assert bool(got.values(b"Content-Length")) is (framing == "length")
            assert got.values(b"Transfer-Encoding") == ([] if framing == "length" else [b"chunked"])
            assert not got.values(b"X")
        assert [relayed.bytes_out for relayed in gate.relayed] == [size, size]
        assert all(relayed.complete for relayed in gate.relayed)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@on_both_loops
async def test_a_request_body_arrives_byte_for_byte(framing: str, size: int) -> None:
    body = noise(size)
    head = b"POST /p HTTP/1.1\r\nHost: gate\r\n"
    if framing == "length":
        sent = head + b"Content-Length: %03d\r\n\r\n" % size + body
    else:
        chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(c), c) for c in pieces(body))
        sent = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-Trailer: t\r\n\r\n"
    async with RawUpstream(answering(plain(b"ok"))) as upstream, front(upstream.origin) as gate:
        for _ in range(2):
            async with client(gate.port) as caller:
                await caller.send(sent)
                got = await caller.answer()
                assert (got.status, got.body) == (200, b"ok")
                request = upstream.requests[-1]
                assert request.body == body
                assert request.values(b"Content-Length") == ([b"%d" % size] if framing == "length" else [])
                assert request.values(b"Transfer-Encoding") == ([] if framing == "length" else [b"chunked"])
                assert b"railer" not in bytes(upstream.connections[-1].received)
                assert got.values(b"Connection") == ([] if framing == "length" else [b"close"])
        assert len(upstream.connections) == 1


async def test_a_chunked_request_is_the_last_of_its_connection() -> None:
    async with RawUpstream(answering(plain(b"ok"))) as upstream, front(upstream.origin) as gate:
        async with client(gate.port) as caller:
            await caller.send(
                b"POST /a HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Evil: 1\r\n\r\n"
                b"GET /b HTTP/1.1\r\nHost: g\r\n\r\n"
            )
            got = await caller.answer()
            assert (got.status, got.values(b"Connection")) == (200, [b"close"])
            assert await caller.at_end()
        assert [request.request_line for request in upstream.requests] == [b"POST /a HTTP/1.1"]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"DELETE", b"OPTIONS"])
async def test_a_request_without_a_body_gets_no_framing(method: bytes) -> None:
    async with RawUpstream(answering(plain(b""))) as upstream, front(upstream.origin) as gate:
        async with client(gate.port) as caller:
            await caller.send(method + b" / HTTP/1.1\r\nHost: g\r\n\r\n")
            await caller.answer(to_head=method == b"HEAD")
        assert bytes(upstream.connections[0].received) == method + (
            b" / HTTP/1.1\r\nHost: %b\r\n\r\n" % upstream.origin.authority.encode()
        )


@pytest.mark.parametrize("coded", [b"\x1f\x8b\x08\x00real-or-not", b"this is not gzip"])
async def test_content_codings_pass_untouched_both_ways(coded: bytes) -> None:
    answer = plain(coded, b"Content-Encoding: gzip")
    async with RawUpstream(answering(answer)) as upstream, front(upstream.origin) as gate:
        async with client(gate.port) as caller:
            got = await caller.post(coded, "/", "Content-Encoding: gzip")
            assert (got.body, got.values(b"Content-Encoding")) == (coded, [b"gzip"])
        assert upstream.requests[0].body == coded
        assert upstream.requests[0].values(b"Content-Encoding") == [b"gzip"]


async def test_response_headers_keep_case_order_duplicates_and_eight_bit_bytes_and_nothing_is_added() -> None:
    lines = [b"X-CaSe: 1", b"x-b: \xff\xe9", b"X-CASE: 3", b'ETag: "\xc3\xa9"', b"Set-Cookie: a=1", b"Set-Cookie: b=2"]
    dated = [*lines, b"date: Mon, 01 Jan 2024 00:00:00 GMT", b"content-LENGTH: 02"]
    answer = b"HTTP/1.1 299 \xc3\xa9t\xe9\r\n" + b"\r\n".join(dated) + b"\r\n\r\nok"
    async with RawUpstream(answering(answer)) as upstream, front(upstream.origin, extra=[("X-Own", "é")]) as gate:
        async with client(gate.port) as caller:
            await caller.send(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
            raw = await caller.reader.readuntil(b"\r\n\r\nok")
        assert (
            raw
            == (b"HTTP/1.1 299 \xc3\xa9t\xe9\r\n" + b"\r\n".join(dated).replace(b": 02", b": 2"))
            + "\r\nX-Own: é\r\n\r\nok".encode()
        )
        assert gate.heads == [299]


async def test_a_missing_date_is_added_and_no_content_type_or_server() -> None:
    async with (
        RawUpstream(answering(plain(b"ok"))) as upstream,
        front(upstream.origin) as gate,
        client(gate.port) as caller,
    ):
        got = await caller.get()
        assert [name for name, _ in got.headers] == [b"Content-Length", b"Date"]
        assert got.values(b"Date")[0].endswith(b" GMT")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize(
    "surplus", [b"", b"Content-Length: 2\r\n\r\nok", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
)
async def test_204_and_304_have_no_body_and_their_surplus_closes_the_upstream(status: bytes, surplus: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\nETag: x\r\n" + (surplus or b"\r\n")
    async with RawUpstream(answering(answer)) as upstream, front(upstream.origin) as gate:
        async with client(gate.port) as caller:
            for _ in range(2):
                got = await caller.get()
                assert (got.status, got.values(b"Transfer-Encoding")) == (int(status[:3]), [])
                assert not status.startswith(b"204") or not got.values(b"Content-Length")
        assert len(upstream.connections) == (2 if surplus else 1)


@pytest.mark.parametrize("line", [b"Content-Length: 5000\r\n", b"Transfer-Encoding: chunked\r\n", b"X: 1\r\n"])
async def test_head_keeps_its_length_and_gets_no_body(line: bytes) -> None:
    async with (
        RawUpstream(answering(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n")) as upstream,
        front(upstream.origin) as gate,
        client(gate.port) as caller,
    ):
        for _ in range(3):
            await caller.send(b"HEAD / HTTP/1.1\r\nHost: g\r\n\r\n")
            got = await caller.answer(to_head=True)
            assert got.values(b"Content-Length") == ([b"5000"] if b"5000" in line else [])
            assert not got.values(b"Transfer-Encoding")
        assert len(upstream.connections) == 1


@pytest.mark.parametrize("kept", [False, True], ids=["close", "keep-alive"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_http_1_0_client_gets_no_chunks(framing: str, kept: bool) -> None:
    answer = plain(b"hello") if framing == "length" else chunked([b"hel", b"lo"])
    async with RawUpstream(answering(answer)) as upstream, front(upstream.origin) as gate, client(gate.port) as caller:
        await caller.send(b"GET / HTTP/1.0\r\n" + (b"Connection: keep-alive\r\n" if kept else b"") + b"\r\n")
        got = await caller.answer()
        stays = kept and framing == "length"
        assert (got.body, got.complete, got.values(b"Transfer-Encoding")) == (b"hello", True, [])
        assert got.values(b"Connection") == [b"keep-alive" if stays else b"close"]
        if stays:
            assert (await caller.get()).body == b"hello"
        else:
            assert await caller.at_end()


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def script(connection: RawConnection) -> None:
        while True:
            request = await connection.read_request()
            await connection.send(plain(request.request_line))

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate, client(gate.port) as caller:
        await caller.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: g\r\n\r\n" % n for n in range(100)))
        assert [(await caller.answer()).body for _ in range(100)] == [b"GET /%d HTTP/1.1" % n for n in range(100)]


async def test_a_draining_forwarder_ends_each_connection_with_its_answer() -> None:
    async with (
        RawUpstream(answering(plain(b"ok"))) as upstream,
        front(upstream.origin) as gate,
        client(gate.port) as caller,
    ):
        assert not (await caller.get()).values(b"Connection")
        gate.forwarder.draining = True
        assert (await caller.get()).values(b"Connection") == [b"close"]
        assert await caller.at_end()


async def test_who_waits_for_100_continue_gets_it_and_the_upstream_never_hears_of_it() -> None:
    async with RawUpstream(answering(plain(b"ok"))) as upstream, front(upstream.origin) as gate:
        async with client(gate.port) as caller:
            await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n")
            assert (await caller.head()).status_line == b"HTTP/1.1 100 Continue"
            await caller.send(b"abc")
            assert (await caller.answer()).body == b"ok"
        assert upstream.requests[0].values(b"Expect") == []
        assert upstream.requests[0].body == b"abc"


async def test_nobody_is_asked_to_go_on_for_an_upstream_that_is_not_there() -> None:
    async with RawUpstream(answering(plain(b"ok"))) as upstream:
        origin = upstream.origin
    async with front(origin) as gate, client(gate.port) as caller:
        await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert (await caller.head()).status == 502


@pytest.mark.parametrize("framing", ["length", "arrived", "chunked"])
async def test_a_body_over_the_services_limit_is_refused(framing: str) -> None:
    async with RawUpstream(answering(plain(b"ok"))) as upstream:
        async with front(upstream.origin, max_body_bytes=100_000) as gate, client(gate.port) as caller:
            if framing == "chunked":
                await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(3):
                    await caller.send(b"c350\r\n" + b"x" * 50_000 + b"\r\n")
            else:
                await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 100001\r\n\r\n")
                if framing == "arrived":
                    await caller.send(b"x" * 100_001)
            await gate.finished()
            error = gate.errors[0]
            assert isinstance(error, RequestError)
            assert error.code == "body_too_large"
        assert all(b"\r\n0\r\n\r\n" not in connection.received for connection in upstream.connections)
        assert framing == "chunked" or not upstream.requests


async def test_a_body_within_the_services_limit_passes() -> None:
    async with (
        RawUpstream(answering(plain(b"ok"))) as upstream,
        front(upstream.origin, max_body_bytes=100_000) as gate,
        client(gate.port) as caller,
    ):
        assert (await caller.post(b"x" * 100_000)).body == b"ok"
