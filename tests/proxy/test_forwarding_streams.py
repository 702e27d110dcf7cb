"""Flow through a real server: events at once, bounded memory, back-pressure, early answers."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.proxy.services import Origin, Timeouts
from tests.conftest import SCALE
from tests.proxy.front import TIMEOUTS, RawClient, client, front
from tests.proxy.loops import on_both_loops
from tests.proxy.payloads import Flow, discard, noise, pieces
from tests.proxy.raw_upstream import RawConnection, RawUpstream, answering, plain


@on_both_loops
async def test_the_first_event_of_a_stream_arrives_at_once() -> None:
    go_on = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for n in range(3):
            await connection.send(b"9\r\ndata: %d\n\n\r\n" % n)
            await go_on.wait()
            go_on.clear()
        await connection.send(b"0\r\n\r\n")

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate, client(gate.port) as caller:
        await caller.send(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
        head = await caller.head()
        assert head.values(b"Content-Type") == [b"text/event-stream"]
        for n in range(3):
            # The upstream says nothing more until this event has come through.
            async with asyncio.timeout(2):
                assert await caller.reader.readexactly(14) == b"9\r\ndata: %d\n\n\r\n" % n
            go_on.set()
        assert await caller.reader.readexactly(5) == b"0\r\n\r\n"


@pytest.mark.parametrize("direction", ["download", "upload"])
async def test_a_hundred_megabytes_pass_in_little_memory(direction: str) -> None:
    total = int(100_000_000 * min(1.0, SCALE))

    async def script(connection: RawConnection) -> None:
        request = await connection.read_head()
        if direction == "upload":
            await discard(connection.reader, int(request.values(b"Content-Length")[0]))
            await connection.send(plain(b"ok"))
            return
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        async for part in Flow(total):
            connection.writer.write(part)
            await connection.writer.drain()

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate, client(gate.port) as caller:
        tracemalloc.start(1)
        try:
            if direction == "download":
                await caller.send(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
                await caller.head()
                await discard(caller.reader, total)
            else:
                await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % total)
                async for part in Flow(total):
                    await caller.send(part)
                assert (await caller.answer()).body == b"ok"
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # Client and upstream live in this process too, with stream buffers of 2 MB each.
        assert peak < 8_000_000


@on_both_loops
async def test_a_client_that_stops_reading_stops_the_upstream_and_can_go_on() -> None:
    sent = 0
    total = 30_000_000

    async def script(connection: RawConnection) -> None:
        nonlocal sent
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        async for part in Flow(total):
            connection.writer.write(part)
            await connection.writer.drain()
            sent += len(part)

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate, client(gate.port, limit=1000) as caller:
        await caller.send(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
        await caller.head()
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 20_000_000
        await discard(caller.reader, total)
        await gate.finished()
        assert gate.relayed[0].complete
        assert sent == total


@on_both_loops
async def test_an_upstream_that_stops_reading_stops_the_client_and_can_go_on() -> None:
    go_on = asyncio.Event()
    total = 30_000_000
    sent = 0

    async def script(connection: RawConnection) -> None:
        await connection.read_head()
        await go_on.wait()
        await discard(connection.reader, total)
        await connection.send(plain(b"ok"))

    async with RawUpstream(script, limit=1000) as upstream, front(upstream.origin) as gate, client(gate.port) as caller:
        await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % total)

        async def upload() -> None:
            nonlocal sent
            async for part in Flow(total):
                await caller.send(part)
                sent += len(part)

        task = asyncio.create_task(upload())
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert 0 < sent < 20_000_000
        go_on.set()
        await task
        assert (await caller.answer()).body == b"ok"


async def _post_large(caller: RawClient, total: int) -> None:
    try:
        await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % total)
        async for part in Flow(total):
            await caller.send(part)
    except ConnectionError:
        pass


@pytest.mark.parametrize("ending", ["keeps reading", "closes", "half-closes", "resets"])
@on_both_loops
async def test_an_answer_during_an_upload_ends_the_exchange_and_both_connections(ending: str) -> None:
    body = noise(20_000)

    async def script(connection: RawConnection) -> None:
        await connection.read_head()
        await connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 20000\r\n\r\n", body)
        if ending == "keeps reading":
            await connection.read_rest()
        elif ending == "half-closes":
            connection.writer.write_eof()
            await connection.read_rest()
        elif ending == "resets":
            connection.reset()

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate:
        for _ in range(20):
            async with client(gate.port) as caller:
                upload = asyncio.create_task(_post_large(caller, 1_000_000))
                got = await caller.answer()
                assert (got.status, got.complete, got.body == body) == (413, True, True)
                assert got.values(b"Connection") == [b"close"]
                await upload
        assert all(relayed.complete for relayed in gate.relayed)
        assert not gate.errors
        async with asyncio.timeout(5):
            for connection in upstream.connections:
                await connection.closed.wait()


@contextmanager
def hasty_upstream(body: bytes) -> Iterator[Origin]:
    """Answers in two writes after the request's head and closes with the upload unread, in a thread of its own: on one
    event loop with the gateway it could never close between two of the gateway's steps."""

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                # Without it the kernel may hold the second write back, and drop it at the close.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if connection.recv(4096) == b"stop":
                    return
                head = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(head % len(body))
                connection.sendall(body)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        address = listener.getsockname()
        try:
            yield Origin("http", *address)
        finally:
            with socket.create_connection(address) as last:
                last.sendall(b"stop")
            thread.join(10)


@on_both_loops
async def test_an_answer_in_two_writes_during_an_upload_is_never_short() -> None:
    body = noise(20_000)
    with hasty_upstream(body) as origin:
        async with front(origin) as gate:
            for _ in range(int(300 * min(1.0, SCALE))):
                async with client(gate.port) as caller:
                    upload = asyncio.create_task(_post_large(caller, 1_000_000))
                    got = await caller.answer()
                    assert (got.status, got.complete, got.body == body) == (413, True, True)
                    await upload
            assert not gate.errors


@on_both_loops
async def test_request_and_response_bodies_flow_at_the_same_time() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n")
        left = 3_000_000
        while left:
            data = await connection.reader.read(65_536)
            left -= len(data)
            await connection.send(data)

    body = noise(3_000_000)
    async with RawUpstream(script) as upstream, front(upstream.origin) as gate, client(gate.port) as caller:
        upload = asyncio.create_task(
            caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 3000000\r\n\r\n", *pieces(body))
        )
        got = await caller.answer()
        assert got.body == body
        await upload


async def test_an_upload_slower_than_the_first_byte_deadline_is_not_a_timeout() -> None:
    timeouts = Timeouts(connect=1, first_byte=0.2, idle=5)
    async with (
        RawUpstream(answering(plain(b"ok"))) as upstream,
        front(upstream.origin, timeouts=timeouts) as gate,
        client(gate.port) as caller,
    ):
        await caller.send(b"POST / HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\n\r\n")
        for _ in range(5):
            await asyncio.sleep(0.12)
            await caller.send(b"x")
        assert (await caller.answer()).body == b"ok"


async def test_time_to_the_first_byte_is_short() -> None:
    async with (
        RawUpstream(answering(plain(b"ok"))) as upstream,
        front(upstream.origin, timeouts=TIMEOUTS) as gate,
        client(gate.port) as caller,
    ):
        await caller.get()
        start = time.perf_counter()
        for _ in range(50):
            await caller.get()
        assert (time.perf_counter() - start) / 50 < 0.05
