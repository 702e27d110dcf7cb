"""Clients that leave, stall or send nonsense, and an owner that changes its mind: what is closed, what is said."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import RequestError, UpstreamTimeout
from gateway.proxy.services import Timeouts
from tests.proxy.front import GET, client, front
from tests.proxy.loops import on_both_loops
from tests.proxy.raw_upstream import CHUNKED, RawConnection, RawUpstream, answering, chunked, closing_soon, plain

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.mark.parametrize("leaving", ["fin", "rst"])
@on_both_loops
async def test_a_client_that_leaves_a_download_closes_the_upstream_within_a_second(leaving: str) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await connection.send(b"x" * 65_536)

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate:
        async with closing_soon(upstream), client(gate.port) as caller:
            await caller.send(GET)
            await caller.reader.readexactly(500_000)
            if leaving == "rst":
                caller.reset()
        await gate.finished()
        assert (gate.relayed[0].complete, gate.relayed[0].fault) == (False, None)


@pytest.mark.parametrize("moment", ["before the head", "between events"])
@on_both_loops
async def test_a_client_that_resets_while_its_upstream_is_silent_closes_it_within_a_second(moment: str) -> None:
    # A FIN alone may be a client that has said all it had to say and still reads (RFC 9112 section 9.5).
    started = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        if moment == "between events":
            await connection.send(CHUNKED + b"3\r\nabc\r\n")
        started.set()
        await connection.read_rest()

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate:
        async with closing_soon(upstream), client(gate.port) as caller:
            await caller.send(GET)
            await started.wait()
            if moment == "between events":
                await caller.reader.readuntil(b"abc\r\n")
            caller.reset()
        await gate.finished()
        assert gate.relayed[0].complete is False
        assert gate.heads == ([200] if moment == "between events" else [])
        assert gate.relayed[0].status == (200 if moment == "between events" else 499)


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("leaving", ["fin", "rst"])
@on_both_loops
async def test_an_upload_that_is_cut_is_cut_for_the_upstream_too(leaving: str, framing: bytes) -> None:
    async with RawUpstream(answering(plain(b"ok"))) as upstream, front(upstream.origin) as gate:
        async with client(gate.port) as caller:
            await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\n" + framing + b"\r\n\r\n")
            await caller.send(b"3\r\nabc\r\n")
            while not upstream.requests:
                await asyncio.sleep(0.01)
            if leaving == "rst":
                caller.reset()
        async with asyncio.timeout(1):
            await upstream.connections[0].closed.wait()
        await gate.finished()
        if leaving == "rst":
            assert gate.relayed[0].status == 499
        else:  # it may still read an answer
            assert str(gate.errors[0]) == "bad_framing"
        assert not upstream.connections[0].received.endswith(b"\r\n0\r\n\r\n")
        assert upstream.requests[0].body == b""


async def test_a_malformed_upload_is_cut_for_the_upstream_and_refused() -> None:
    async with RawUpstream(answering(plain(b"ok"))) as upstream, front(upstream.origin) as gate:
        async with client(gate.port) as caller:
            await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            while not upstream.requests:
                await asyncio.sleep(0.01)
            await caller.send(b"nonsense\r\n")
            async with asyncio.timeout(1):
                await upstream.connections[0].closed.wait()
            await gate.finished()
        assert isinstance(gate.errors[0], RequestError)
        assert gate.errors[0].code == "bad_framing"


async def test_an_upload_that_stalls_is_given_up() -> None:
    timeouts = Timeouts(connect=1, first_byte=5, idle=0.2)
    async with RawUpstream(answering(plain(b"ok"))) as upstream, front(upstream.origin, timeouts=timeouts) as gate:
        async with client(gate.port) as caller, closing_soon(upstream):
            await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 10\r\n\r\nabc")
            await gate.finished()
        assert isinstance(gate.errors[0], RequestError)
        assert gate.errors[0].code == "request_timeout"


async def test_an_upstream_that_stops_taking_an_upload_is_a_timeout() -> None:
    release = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.read_head()
        await release.wait()

    timeouts = Timeouts(connect=1, first_byte=5, idle=0.3)
    async with (
        RawUpstream(script, limit=1000) as upstream,
        front(upstream.origin, timeouts=timeouts) as gate,
        client(gate.port) as caller,
    ):
        await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 100000000\r\n\r\n")

        async def upload() -> None:
            try:
                while True:
                    await caller.send(b"x" * 65_536)
            except ConnectionError:
                pass

        task = asyncio.create_task(upload())
        await gate.finished()
        assert isinstance(gate.errors[0], UpstreamTimeout)
        release.set()
        await task


async def test_a_client_that_takes_nothing_is_cut_after_the_idle_time() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await connection.send(b"x" * 65_536)

    timeouts = Timeouts(connect=1, first_byte=5, idle=0.3)
    async with RawUpstream(script) as upstream, front(upstream.origin, timeouts=timeouts) as gate:
        async with client(gate.port, limit=1000) as caller, closing_soon(upstream):
            await caller.send(GET)
            await gate.finished()
        assert (gate.relayed[0].complete, gate.relayed[0].fault) == (False, None)


@on_both_loops
async def test_a_client_that_ended_its_side_gets_its_whole_answer() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED)
        for _ in range(5):
            await asyncio.sleep(0.02)
            await connection.send(b"3\r\nabc\r\n")
        await connection.send(b"0\r\n\r\n")

    async with (
        RawUpstream(script) as upstream,
        front(upstream.origin) as gate,
        client(gate.port) as caller,
    ):
        await caller.send(GET)
        caller.writer.write_eof()
        got = await caller.answer()
        assert (got.complete, got.body) == (True, b"abc" * 5)


async def test_a_cancelled_forward_closes_both_sides() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(CHUNKED + b"3\r\nabc\r\n")
        await connection.read_rest()

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate, client(gate.port) as caller:
        await caller.send(GET)
        await caller.reader.readuntil(b"abc\r\n")
        for task in asyncio.all_tasks():
            if "_handle_request" in repr(task.get_coro()):
                task.cancel()
        assert await caller.at_end()
        async with asyncio.timeout(1):
            await upstream.connections[0].closed.wait()


async def test_a_hook_that_refuses_sends_nothing_and_gives_up_the_upstream() -> None:
    async with RawUpstream(answering(chunked([b"abc"]))) as upstream, front(upstream.origin) as gate:

        def refuse(status: int, _fields: object) -> list[tuple[str, str]]:
            raise RequestError("token_exhausted")

        gate.on_head = refuse  # type: ignore[method-assign]
        async with client(gate.port) as caller:
            assert (await caller.get()).status == 502
        assert isinstance(gate.errors[0], RequestError)


@pytest.mark.parametrize("field", [("X", "a\r\nSet-Cookie: b=1"), ("X\n", "a"), ("X", "a\rb")])
async def test_a_line_break_in_a_field_of_our_own_is_never_sent(field: tuple[str, str]) -> None:
    async with (
        RawUpstream(answering(plain(b"ok"))) as upstream,
        front(upstream.origin, extra=[field]) as gate,
        client(gate.port) as caller,
    ):
        assert (await caller.get()).status == 502
