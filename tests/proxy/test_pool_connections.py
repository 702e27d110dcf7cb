"""The pool: reuse, staleness, the one repeat, limits, deadlines, TLS."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from gateway.errors import BadUpstreamResponse, RequestError, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.proxy.services import Origin, Timeouts
from gateway.proxy.upstream import UpstreamRequest
from tests.proxy.pooled import OK, a_request, fetch, pool_to, read_all
from tests.proxy.raw_upstream import RawConnection, RawUpstream, Script, answering, plain


async def test_requests_follow_each_other_on_one_connection() -> None:
    async with RawUpstream(answering(OK)) as upstream, pool_to(upstream.origin) as pool:
        for _ in range(20):
            assert await fetch(pool) == b"ok"
        assert len(upstream.connections) == 1
        assert upstream.requests[0].head == b"GET /x?y HTTP/1.1\r\nHost: up\r\n\r\n"


@pytest.mark.parametrize(
    ("method", "body", "lines"),
    [
        ("GET", None, b""),
        ("DELETE", None, b""),
        ("POST", None, b"Content-Length: 0\r\n"),
        ("PUT", None, b"Content-Length: 0\r\n"),
        ("POST", b"abc", b"Content-Length: 3\r\n"),
    ],
)
async def test_framing_is_written_by_the_pool_alone(method: str, body: bytes | None, lines: bytes) -> None:
    async with RawUpstream(answering(OK)) as upstream, pool_to(upstream.origin) as pool:
        await fetch(pool, a_request(method, body))
        expected = method.encode() + b" /x?y HTTP/1.1\r\nHost: up\r\n" + lines + b"\r\n" + (body or b"")
        assert bytes(upstream.connections[0].received) == expected


@pytest.mark.parametrize("value", [b"a\r\nX: b", b"a\nb", b"a\rb", b"a\r\n\r\nGET / HTTP/1.1"])
async def test_a_line_break_in_a_header_never_leaves(value: bytes) -> None:
    async with RawUpstream(answering(OK)) as upstream, pool_to(upstream.origin) as pool:
        with pytest.raises(RequestError):
            await pool.send(UpstreamRequest("GET", "/", [(b"Host", b"up"), (b"X", value)]))
        assert await fetch(pool) == b"ok"
        assert len(upstream.requests) == 1


IRREGULAR = {
    "extra bytes": plain(b"ok") + b"extra",
    "a second answer": plain(b"ok") + plain(b"no"),
    "announced close": plain(b"ok", b"Connection: close"),
    "HTTP/1.0": OK.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "204 with a body": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("case", IRREGULAR)
async def test_a_connection_with_an_anomaly_is_closed_and_its_surplus_reaches_nobody(case: str) -> None:
    async with RawUpstream(answering(IRREGULAR[case])) as upstream, pool_to(upstream.origin) as pool:
        for _ in range(3):
            assert await fetch(pool) == (b"" if "204" in case else b"ok")
            assert pool.idle_connections == 0
        assert len(upstream.connections) == 3


async def test_bytes_that_arrive_on_an_idle_connection_drop_it() -> None:
    speak = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(OK)
        if connection.number == 0:
            await speak.wait()
            await connection.send(plain(b"poison"))
        await connection.read_request()
        await connection.send(OK)

    async with RawUpstream(script) as upstream, pool_to(upstream.origin) as pool:
        assert await fetch(pool) == b"ok"
        speak.set()
        async with asyncio.timeout(5):
            await upstream.connections[0].closed.wait()
        assert await fetch(pool) == b"ok"
        assert len(upstream.connections) == 2


async def test_an_idle_connection_is_closed_after_the_keepalive_time() -> None:
    async with RawUpstream(answering(OK)) as upstream, pool_to(upstream.origin, keepalive_s=0.05) as pool:
        await fetch(pool)
        assert pool.idle_connections == 1
        async with asyncio.timeout(5):
            await upstream.connections[0].closed.wait()
        assert await fetch(pool) == b"ok"
        assert len(upstream.connections) == 2


def closing_kept_connections(*, reset: bool = False) -> Script:
    """Answers the first request of each connection; takes a second one and closes without an answer."""

    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(OK)
        await connection.read_request()
        if reset:
            connection.reset()

    return script


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
async def test_a_get_that_met_a_closing_connection_is_sent_again_once(reset: bool) -> None:
    async with RawUpstream(closing_kept_connections(reset=reset)) as upstream, pool_to(upstream.origin) as pool:
        await fetch(pool)
        assert await fetch(pool) == b"ok"
        assert [len(connection.requests) for connection in upstream.connections] == [2, 1]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_what_may_have_been_done_already_is_not_sent_again(method: str) -> None:
    async with RawUpstream(closing_kept_connections()) as upstream, pool_to(upstream.origin) as pool:
        await fetch(pool)
        with pytest.raises(BadUpstreamResponse):
            await fetch(pool, a_request(method, b"x"))
        assert len(upstream.requests) == 2


async def test_a_get_on_a_new_connection_is_not_sent_again() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()

    async with RawUpstream(script) as upstream, pool_to(upstream.origin) as pool:
        with pytest.raises(BadUpstreamResponse):
            await fetch(pool)
        assert len(upstream.requests) == 1


async def test_a_get_that_got_a_byte_of_an_answer_is_not_sent_again() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(OK)
        await connection.read_request()
        await connection.send(b"H")

    async with RawUpstream(script) as upstream, pool_to(upstream.origin) as pool:
        await fetch(pool)
        with pytest.raises(BadUpstreamResponse):
            await fetch(pool)
        assert len(upstream.requests) == 2


async def test_a_post_does_not_use_a_connection_that_the_upstream_has_ended() -> None:
    async with RawUpstream(answering(OK, forever=False)) as upstream, pool_to(upstream.origin) as pool:
        for _ in range(100):
            assert await fetch(pool, a_request("POST", b"x")) == b"ok"
        assert len(upstream.requests) == 100


async def test_no_get_fails_while_the_upstream_keeps_closing_idle_connections() -> None:
    async def script(connection: RawConnection) -> None:
        for _ in range(3):
            await connection.read_request()
            await connection.send(OK)

    async with RawUpstream(script) as upstream, pool_to(upstream.origin) as pool:

        async def worker() -> None:
            for _ in range(250):
                assert await fetch(pool) == b"ok"

        await asyncio.gather(*(worker() for _ in range(4)))
        assert len(upstream.requests) >= 1000


async def test_a_refused_connection_is_unreachable_at_once() -> None:
    async with RawUpstream(answering(OK)) as upstream:
        origin = upstream.origin
    async with pool_to(origin) as pool:
        with pytest.raises(UpstreamUnreachable):
            await fetch(pool)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid", "..", "xn--\udc80"])
async def test_a_host_without_an_address_is_unreachable(host: str) -> None:
    async with pool_to(Origin("http", host, 80)) as pool:
        with pytest.raises((UpstreamUnreachable, UpstreamTimeout)):
            await fetch(pool)


async def test_a_connection_that_is_not_made_in_time_is_a_timeout() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_rest()

    # TLS towards a server that never shakes hands: connected for TCP, not for the pool.
    async with RawUpstream(script) as upstream:
        origin = Origin("https", "127.0.0.1", upstream.port)
        async with pool_to(origin, timeouts=Timeouts(connect=0.1)) as pool:
            with pytest.raises(UpstreamTimeout):
                await fetch(pool)


async def test_a_silent_upstream_is_a_timeout_and_its_connection_is_closed() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.read_rest()

    async with RawUpstream(script) as upstream, pool_to(upstream.origin, timeouts=Timeouts(first_byte=0.1)) as pool:
        with pytest.raises(UpstreamTimeout):
            await fetch(pool)
        async with asyncio.timeout(5):
            await upstream.connections[0].closed.wait()


async def test_interim_answers_do_not_put_off_the_deadline_for_the_final_one() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        while True:
            await connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await asyncio.sleep(0.05)

    async with RawUpstream(script) as upstream, pool_to(upstream.origin, timeouts=Timeouts(first_byte=0.3)) as pool:
        with pytest.raises(UpstreamTimeout):
            await fetch(pool)


async def test_a_stalled_body_is_a_timeout_and_a_slow_one_is_not() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n")
        for _ in range(3 if connection.number else 10):
            await connection.send(b"z")
            await asyncio.sleep(0.1)
        await connection.read_rest()

    async with RawUpstream(script) as upstream, pool_to(upstream.origin, timeouts=Timeouts(idle=0.4)) as pool:
        assert await fetch(pool) == b"z" * 10
        response = await pool.send(a_request())
        read = b""
        while len(read) < 3:
            read += await response.read_chunk()
        assert read == b"zzz"
        with pytest.raises(UpstreamTimeout):
            await response.read_chunk()
        await response.aclose()


async def test_at_most_max_connections_are_open_and_the_others_wait_in_turn() -> None:
    async def script(connection: RawConnection) -> None:
        while True:
            await connection.read_request()
            await asyncio.sleep(0.01)
            await connection.send(OK)

    async with RawUpstream(script) as upstream, pool_to(upstream.origin, max_connections=3) as pool:
        # Twice the cap of waiting requests would be refused: three run, three wait.
        assert await asyncio.gather(*(fetch(pool) for _ in range(6))) == [b"ok"] * 6
        assert len(upstream.connections) == 3


async def test_a_request_that_waits_too_long_for_a_connection_is_unreachable() -> None:
    release = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await release.wait()
        await connection.send(OK)
        await connection.read_rest()

    async with (
        RawUpstream(script) as upstream,
        pool_to(upstream.origin, max_connections=1, timeouts=Timeouts(connect=0.2)) as pool,
    ):
        first = asyncio.create_task(fetch(pool))
        while not upstream.requests:
            await asyncio.sleep(0.01)
        with pytest.raises(UpstreamUnreachable):
            await fetch(pool)
        waiting = asyncio.create_task(fetch(pool))
        await asyncio.sleep(0)
        with pytest.raises(UpstreamUnreachable):
            await fetch(pool)  # the queue is as long as it may be
        waiting.cancel()
        release.set()
        assert await first == b"ok"
        await asyncio.gather(waiting, return_exceptions=True)
        assert pool.idle_connections == 1


async def test_cancelled_requests_leave_no_place_taken() -> None:
    async with RawUpstream(answering(OK)) as upstream, pool_to(upstream.origin, max_connections=2) as pool:
        for delay in range(40):
            tasks = [asyncio.create_task(fetch(pool)) for _ in range(4)]
            for _ in range(delay % 10):
                await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert list(await asyncio.gather(fetch(pool), fetch(pool))) == [b"ok", b"ok"]
        assert pool.open_connections <= 2


async def test_a_failed_connection_gives_its_place_to_who_waits() -> None:
    async with RawUpstream(answering(OK)) as upstream:
        origin = upstream.origin
    async with pool_to(origin, max_connections=1) as pool:
        results = await asyncio.gather(fetch(pool), fetch(pool), return_exceptions=True)
        assert [type(result) for result in results] == [UpstreamUnreachable, UpstreamUnreachable]


async def test_an_answer_given_up_half_read_closes_its_connection() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
        await connection.read_rest()

    async with RawUpstream(script) as upstream, pool_to(upstream.origin) as pool:
        response = await pool.send(a_request())
        assert await response.read_chunk() == b"abc"
        await response.aclose()
        async with asyncio.timeout(5):
            await upstream.connections[0].closed.wait()
        assert pool.open_connections == 0


async def test_a_paused_connection_comes_back_to_the_pool_reading() -> None:
    big = b"b" * 300_000

    async with RawUpstream(answering(plain(big))) as upstream, pool_to(upstream.origin) as pool:
        for _ in range(5):
            response = await pool.send(a_request())
            # Left alone until the connection is paused, then read.
            for _ in range(20):
                await asyncio.sleep(0.002)
            assert await read_all(response) == big
        assert len(upstream.connections) == 1


async def test_closing_the_pool_ends_idle_busy_and_waiting_exchanges() -> None:
    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.read_rest()

    async with RawUpstream(script) as upstream, pool_to(upstream.origin, max_connections=1) as pool:
        busy = asyncio.create_task(fetch(pool))
        while not upstream.requests:
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(fetch(pool))
        await asyncio.sleep(0)
        await pool.aclose()
        results = await asyncio.gather(busy, waiting, return_exceptions=True)
        assert all(isinstance(result, UpstreamError) for result in results)
        with pytest.raises(UpstreamUnreachable):
            await fetch(pool)


async def test_closed_connections_are_freed_without_the_garbage_collector() -> None:
    async with RawUpstream(answering(OK)) as upstream, pool_to(upstream.origin, keepalive_s=0.0) as pool:
        await fetch(pool)
        connection = weakref.ref(next(iter(pool._open)))
        gc.disable()
        try:
            async with asyncio.timeout(5):
                await upstream.connections[0].closed.wait()
            async with asyncio.timeout(5):
                while connection() is not None:
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()
