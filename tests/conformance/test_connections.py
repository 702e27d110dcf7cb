"""K03, K05 to K08, S24: what needs a client, an upstream or a clock that acts in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gateway.server.lingering import LINGER_S, UNREAD_LIMIT
from gateway.server.listener import Listener, bound_address, listen
from tests.conformance.answers import message
from tests.conformance.rows import PROBE, get, head, post, relayed, upstream
from tests.conformance.site import SCRIPTED, Site
from tests.conformance.wire import Wire
from tests.proxy.raw_upstream import RawConnection

pytestmark = pytest.mark.asyncio(loop_scope="module")

IDLE_S = 0.3
_RESET = struct.pack("ii", 1, 0)
_SCRIPTED = b"/free" + SCRIPTED


def quiet(site: Site) -> bool:
    return "Traceback" not in site.log.getvalue()


@pytest.mark.parametrize("count", [1, 2, 32, 100])
async def test_K03_a_client_that_ended_its_side_gets_every_whole_answer(site: Site, count: int) -> None:
    async with Wire(site.address) as wire:
        await wire.send((get(b"/free/x") * count,))
        wire.end()
        for _ in range(count):
            answer = await wire.answer()
            assert answer is not None
            assert answer.raw in {relayed(), relayed(close=True)}
        assert await wire.rest() == b""
    assert quiet(site)


async def test_K03_a_client_that_ended_its_side_gets_an_answer_that_was_long_in_coming(site: Site) -> None:
    ended = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await ended.wait()
        await connection.send(message(b"Transfer-Encoding: chunked", body=b"3\r\nabc\r\n"), b"0\r\n\r\n")

    site.scripts[b"late"] = script
    async with Wire(site.address) as wire:
        await wire.send((get(_SCRIPTED + b"late"),))
        wire.end()
        await wire.send((b"",))
        ended.set()
        answer = await wire.answer()
        assert answer is not None
        assert (answer.complete, answer.body) == (True, b"abc")
        assert await wire.rest() == b""


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_K05_a_client_that_leaves_its_download_frees_the_upstream_within_a_second(
    site: Site, reset: bool
) -> None:
    gone: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def script(connection: RawConnection) -> None:
        await connection.send(message(b"Transfer-Encoding: chunked"))
        try:
            while True:
                await connection.send(b"400\r\n" + b"x" * 1_024 + b"\r\n")
        except ConnectionError:
            gone.set_result(time.monotonic())

    site.scripts[b"endless"] = script
    async with Wire(site.address) as wire:
        await wire.send((get(_SCRIPTED + b"endless"),))
        await wire.until(b"x" * 1_024)
        if reset:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    left = time.monotonic()
    assert await asyncio.wait_for(gone, 10) - left < 1.0
    assert quiet(site)


@pytest.mark.parametrize("framing", [b"Content-Length: 9", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("how", ["FIN", "RST", "half"])
async def test_K06_an_upload_that_its_client_leaves_never_looks_whole_to_the_upstream(
    site: Site, framing: bytes, how: str
) -> None:
    site.cut.clear()
    site.seen.clear()
    part = b"abc" if b"Length" in framing else b"3\r\nabc\r\n"
    seen_before = len(site.upstream.requests)
    async with Wire(site.address) as wire:
        await wire.send((post(framing), part))
        while len(site.upstream.requests) == seen_before:
            await asyncio.sleep(0)
        if how == "RST":
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        elif how == "half":
            wire.end()
            answer = await wire.answer()
            assert answer is None or answer.status == 400
            assert await wire.rest() == b""
    await asyncio.wait_for(site.was_cut.get(), 10)
    assert [request.partition(b" HTTP/1.1\r\n")[0] for request in site.cut] == [b"POST /free/x"]
    assert not site.seen
    assert quiet(site)


@pytest.mark.parametrize(
    "fields", [(b"Content-Length: 100000000000",), (b"Content-Length: 100000000000", b"Expect: 100-continue")]
)
async def test_K07_an_endless_unpaid_upload_is_answered_and_hardly_read(site: Site, fields: tuple[bytes, ...]) -> None:
    before = set(site.gateway._listener.connections)
    async with Wire(site.address) as wire:
        await wire.send((post(*fields, target=b"/paid/x"),))
        (connection,) = set(site.gateway._listener.connections) - before
        body = connection.body  # type: ignore[attr-defined]  # a ClientConnection
        began = time.monotonic()
        sending = asyncio.create_task(_send_until_closed(wire))
        answer = await wire.answer()
        assert answer is not None
        assert (answer.status, answer.closes, answer.complete) == (402, True, True)
        assert b"100 Continue" not in answer.raw
        assert await asyncio.wait_for(wire.rest(), 5) == b""
        assert time.monotonic() - began < 2.5
        await asyncio.wait_for(sending, 5)
    assert body.total_bytes <= UNREAD_LIMIT
    assert quiet(site)


async def test_K07_an_unpaid_upload_that_has_arrived_is_not_waited_for(site: Site) -> None:
    async with Wire(site.address) as wire:
        chunks = b"a00\r\n%b\r\n" % (b"x" * 0xA00) * 20 + b"0\r\n\r\n"
        began = time.monotonic()
        await wire.send((post(b"Transfer-Encoding: chunked", target=b"/paid/x", body=chunks),))
        answer = await wire.answer()
        assert answer is not None
        assert (answer.status, answer.closes) == (402, True)
        assert await wire.rest() == b""
        assert time.monotonic() - began < LINGER_S


async def _send_until_closed(wire: Wire) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while True:
            await loop.sock_sendall(wire.socket, b"x" * 16_384)


async def test_R74_the_client_is_told_to_continue_and_the_upstream_is_not_asked(site: Site) -> None:
    site.seen.clear()
    async with Wire(site.address) as wire:
        await wire.send((post(b"Expect: 100-continue", b"Content-Length: 3"),))
        interim = await wire.answer()
        assert interim is not None
        assert interim.raw == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send((b"abc" + PROBE,))
        for _ in range(2):
            answer = await wire.answer()
            assert answer is not None
            assert answer.raw == relayed()
    assert site.seen[upstream(b"POST /free/x HTTP/1.1", framing=b"Content-Length: 3", body=b"abc")] == 1


async def test_S24_an_answer_that_nobody_asked_for_ends_its_connection(site: Site) -> None:
    answered = asyncio.Event()
    closed = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.send(message(b"Content-Length: 3", body=b"abc"))
        await answered.wait()
        await connection.send(message(b"Content-Length: 4", body=b"evil"))
        assert await connection.read_rest() == b""
        closed.set()

    site.scripts[b"twice"] = script
    async with Wire(site.address) as wire:
        await wire.send((get(_SCRIPTED + b"twice"),))
        first = await wire.answer()
        assert first is not None
        assert first.body == b"abc"
        answered.set()
        await asyncio.wait_for(closed.wait(), 10)
        await wire.send((PROBE,))
        second = await wire.answer()
        assert second is not None
        assert second.raw == relayed()


@contextlib.asynccontextmanager
async def impatient_listener() -> AsyncIterator[tuple[str, int]]:
    """A listener whose clients have ``IDLE_S`` seconds, in front of nothing."""

    async def ok(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="ok")

    listener = Listener(ok, idle_s=IDLE_S)
    server = await listen(listener, "127.0.0.1", 0)
    try:
        yield bound_address(server)
    finally:
        server.close()
        await listener.shutdown(1.0)


@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\nX: "], ids=["silence", "a byte", "half a head"]
)
async def test_K08_who_sends_no_whole_header_is_hung_up_on(sent: bytes) -> None:
    async with impatient_listener() as address, Wire(address) as wire:
        began = time.monotonic()
        await wire.send((sent,) if sent else ())
        assert await wire.rest() == b""
        assert IDLE_S * 0.9 <= time.monotonic() - began < IDLE_S + 1.0


async def test_K08_a_header_that_drips_in_wins_no_time() -> None:
    async with impatient_listener() as address, Wire(address) as wire:
        began = time.monotonic()
        await wire.send((b"GET / HTTP/1.1\r\nHost: a\r\n",))
        with contextlib.suppress(ConnectionError):
            while not await wire.ends_within(IDLE_S / 10):
                await wire.send((b"x: a\r\n",))
        assert time.monotonic() - began < IDLE_S + 1.0


async def test_K08_a_kept_connection_is_hung_up_on_when_its_client_is_silent_or_slow() -> None:
    for sent in (b"", b"GET / HTTP/1.1\r\nHo"):
        async with impatient_listener() as address, Wire(address) as wire:
            await wire.send((head(b"GET / HTTP/1.1"),))
            answer = await wire.answer()
            assert answer is not None
            began = time.monotonic()
            await wire.send((sent,) if sent else ())
            assert await wire.rest() == b""
            assert IDLE_S * 0.9 <= time.monotonic() - began < IDLE_S + 1.0


async def test_K08_the_time_is_fifteen_seconds(site: Site) -> None:
    async with Wire(site.address) as wire:
        await wire.send((PROBE,))
        assert await wire.answer() is not None
        assert {connection.keepalive_timeout for connection in site.gateway._listener.connections} == {15.0}


async def test_every_date_of_ours_is_in_the_form_of_rfc_9110(site: Site) -> None:
    async with Wire(site.address) as wire:
        await wire.send((get(b"/nowhere"),))
        answer = await wire.answer()
        assert answer is not None
        assert re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.values(b"date")[0])
