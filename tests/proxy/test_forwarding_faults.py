"""What goes wrong at the upstream, through a real server: who hears what, and what is closed."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import BadUpstreamResponse, UpstreamTimeout, UpstreamUnreachable
from gateway.proxy.services import Origin, Timeouts
from tests.proxy.front import GET, client, front
from tests.proxy.loops import on_both_loops
from tests.proxy.raw_upstream import (
    CHUNKED,
    RawConnection,
    RawUpstream,
    answering,
    answering_once_then,
    closing_soon,
    plain,
)
from tests.proxy.test_pool_answers import REFUSED

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.mark.parametrize("case", REFUSED)
async def test_an_answer_that_breaks_http_never_reaches_the_client(case: str) -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        if connection.number:
            await connection.send(plain(b"ok"))
        else:
            await connection.send(REFUSED[case])
        await connection.read_rest()

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate:
        async with client(gate.port) as caller, closing_soon(upstream):
            await caller.send(GET)
            got = await caller.answer()
        if gate.errors:
            assert isinstance(gate.errors[0], BadUpstreamResponse)
            assert (got.status, gate.heads) == (502, [])
        else:
            # The head was in order and had gone out before the fault: cut, never ended.
            assert "chunk" in case or "trailer" in case
            assert (got.complete, gate.relayed[0].complete) == (False, False)
            assert isinstance(gate.relayed[0].fault, BadUpstreamResponse)
        async with client(gate.port) as caller:
            assert (await caller.get()).body == b"ok"


SILENT_ENDS = {"nothing": b"", "half a head": b"HTTP/1.1 200 OK\r\nX: 1\r\n", "an interim": b"HTTP/1.1 100 C\r\n\r\n"}


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("case", SILENT_ENDS)
async def test_an_upstream_that_closes_before_its_head_is_a_bad_answer(case: str, reset: bool) -> None:
    async with RawUpstream(answering_once_then(SILENT_ENDS[case], reset=reset)) as upstream:
        async with front(upstream.origin) as gate, client(gate.port) as caller:
            assert (await caller.get()).status == 502
            assert isinstance(gate.errors[0], BadUpstreamResponse)
        assert len(upstream.requests) == 1


async def test_a_refused_connection_is_reported_as_unreachable_at_once() -> None:
    async with RawUpstream(answering(b"")) as upstream:
        origin = upstream.origin
    async with front(origin) as gate, client(gate.port) as caller:
        assert (await caller.get()).status == 502
        assert isinstance(gate.errors[0], UpstreamUnreachable)


async def test_an_unreadable_ca_file_is_reported_as_unreachable() -> None:
    async with front(Origin("https", "localhost", 1), ca_file="/nonexistent.pem") as gate, client(gate.port) as caller:
        assert (await caller.get()).status == 502
        assert isinstance(gate.errors[0], UpstreamUnreachable)


async def test_slow_headers_are_a_timeout() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\n")
        await connection.read_rest()

    async with RawUpstream(script) as upstream, front(upstream.origin, timeouts=Timeouts(first_byte=0.1)) as gate:
        async with client(gate.port) as caller, closing_soon(upstream):
            assert (await caller.get()).status == 502
        assert isinstance(gate.errors[0], UpstreamTimeout)


# Cut bodies: (what was sent, what of the body must have arrived)
CUTS = {
    "length short": (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b""),
    "chunk short": (CHUNKED + b"5\r\nabc", b""),
    "no last chunk": (CHUNKED + b"3\r\nabc\r\n", b""),
    "bad chunk": (CHUNKED + b"3\r\nabc\r\n", b"xyz\r\n"),
    "bad trailer": (CHUNKED + b"3\r\nabc\r\n", b"0\r\nX : 1\r\n\r\n"),
}


@pytest.mark.parametrize("ending", ["fin", "rst"])
@pytest.mark.parametrize("case", CUTS)
@on_both_loops
async def test_a_cut_answer_is_cut_for_the_client_too(case: str, ending: str) -> None:
    first, second = CUTS[case]
    go_on = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(first)
        await go_on.wait()
        await connection.send(second)
        if ending == "rst":
            connection.reset()

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate, client(gate.port) as caller:
        await caller.send(GET + GET)
        head = await caller.head()
        framed = not head.values(b"Content-Length")
        assert await caller.reader.readexactly(8 if framed else 3) == (b"3\r\nabc\r\n" if framed else b"abc")
        go_on.set()
        assert await caller.at_end()
        await gate.finished()
        assert (gate.relayed[0].complete, gate.relayed[0].bytes_out) == (False, 3)
        assert isinstance(gate.relayed[0].fault, BadUpstreamResponse)


@on_both_loops
async def test_a_reset_ends_a_body_until_close_without_a_last_chunk_and_http_1_0_with_a_reset() -> None:
    go_on = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await go_on.wait()
        connection.reset()

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate:
        async with client(gate.port) as caller:
            await caller.send(GET)
            await caller.head()
            assert await caller.reader.readexactly(8) == b"3\r\nabc\r\n"
            go_on.set()
            assert await caller.at_end()
        go_on.clear()
        async with client(gate.port) as caller:
            await caller.send(b"GET / HTTP/1.0\r\n\r\n")
            await caller.head()
            assert await caller.reader.readexactly(3) == b"abc"
            go_on.set()
            with pytest.raises(ConnectionResetError):
                await caller.reader.read()
        assert [relayed.complete for relayed in gate.relayed] == [False, False]


async def test_a_stalled_answer_is_cut_after_the_idle_time_and_a_slow_one_lives() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n")
        for _ in range(4 if connection.number else 8):
            await connection.send(b"z")
            await asyncio.sleep(0.08)
        await connection.read_rest()

    async with RawUpstream(script) as upstream, front(upstream.origin, timeouts=Timeouts(idle=0.4)) as gate:
        async with client(gate.port) as caller:
            assert (await caller.get()).body == b"z" * 8
        async with client(gate.port) as caller, closing_soon(upstream):
            got = await caller.get()
            assert (got.complete, got.body) == (False, b"zzzz")
        assert isinstance(gate.relayed[1].fault, UpstreamTimeout)


@pytest.mark.parametrize("surplus", [b"extra", plain(b"stolen"), b"\r\n" + plain(b"stolen")])
async def test_bytes_after_an_answer_never_reach_anybody(surplus: bytes) -> None:
    async with RawUpstream(answering(plain(b"mine") + surplus)) as upstream, front(upstream.origin) as gate:
        async with client(gate.port) as one, client(gate.port) as two:
            for _ in range(3):
                assert (await one.get()).body == b"mine"
                assert (await two.get()).body == b"mine"
        assert len(upstream.connections) == 6


async def test_redirects_and_cookies_pass_through_and_stay_with_their_client() -> None:
    async def script(connection: RawConnection) -> None:
        while True:
            request = await connection.read_request()
            assert not request.values(b"Cookie")
            lines = [b"Location: http://169.254.169.254/", b"Set-Cookie: a=1", b"Set-Cookie: b=2"]
            await connection.send(plain(b"", *lines, status=b"302 Found"))

    async with RawUpstream(script) as upstream, front(upstream.origin) as gate:
        for _ in range(2):
            async with client(gate.port) as caller:
                got = await caller.get()
                assert (got.status, got.values(b"Location")) == (302, [b"http://169.254.169.254/"])
                assert got.values(b"Set-Cookie") == [b"a=1", b"b=2"]
        assert len(upstream.requests) == 2


async def test_hop_by_hop_fields_of_an_answer_and_those_it_nominates_are_removed() -> None:
    lines = [b"Connection: X-A, keep-alive", b"X-A: 1", b"Keep-Alive: timeout=5", b"X-B: 2", b"Upgrade: h2c"]
    async with (
        RawUpstream(answering(plain(b"ok", *lines))) as upstream,
        front(upstream.origin) as gate,
        client(gate.port) as caller,
    ):
        got = await caller.get()
        assert [name for name, _ in got.headers] == [b"X-B", b"Content-Length", b"Date"]


async def test_an_interim_answer_is_not_relayed_not_even_to_http_1_0() -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + plain(b"ok")
    async with RawUpstream(answering(answer)) as upstream, front(upstream.origin) as gate:
        for version in (b"1.1", b"1.0"):
            async with client(gate.port) as caller:
                await caller.send(b"GET / HTTP/" + version + b"\r\nHost: g\r\n\r\n")
                head = await caller.head()
                assert (head.status, head.values(b"Link")) == (200, [])
