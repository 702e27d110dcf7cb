"""Plain requests take the short way, everything else the ordinary one, and a connection may change ways at will."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.fast_path import TESTED_AIOHTTP, FastListener, fast_path_fits
from gateway.server.plain_head import PlainHeads
from tests.conformance.site import SCRIPTED, Site, running_site
from tests.conformance.wire import Wire
from tests.conftest import SCALE
from tests.proxy.loops import on_both_loops
from tests.proxy.raw_upstream import RawConnection, chunked, plain

GET = b"GET /free/x HTTP/1.1\r\nHost: shop\r\n\r\n"


def post(body: bytes, target: bytes = b"/free/x") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n%b" % (target, len(body), body)


def scripted(name: bytes, method: bytes = b"GET") -> bytes:
    return b"%b /free%b%b/1 HTTP/1.1\r\nHost: shop\r\n\r\n" % (method, SCRIPTED, name)


@asynccontextmanager
async def warm_site(folder: Path) -> AsyncIterator[Site]:
    """A site whose pool holds a connection, so that the next plain request finds one."""
    async with running_site(folder) as site:
        await site.buy()
        async with Wire(site.address) as wire:
            await asked(wire, GET)
        yield site


async def asked(wire: Wire, *parts: bytes, status: int = 200) -> bytes:
    await wire.send(parts)
    answer = await wire.answer()
    assert answer is not None
    assert (answer.status, answer.complete) == (status, True), answer
    return answer.body


def retried(site: Site) -> int:
    listener = site.gateway._listener
    assert isinstance(listener, FastListener)
    return listener.plain.retried


@on_both_loops
async def test_plain_requests_take_the_fast_path_each_of_them(tmp_path: Path) -> None:
    async with warm_site(tmp_path) as site, Wire(site.address) as wire:
        paid = b"GET /paid/x HTTP/1.1\r\nHost: shop\r\nAuthorization: %b\r\n\r\n" % site.credential
        await asked(wire, paid)  # checked in full, and from then on known
        before = site.taken
        for request in (GET, paid, post(b"abc"), post(b""), GET.replace(b"GET", b"DELETE"), paid):
            await asked(wire, request)
        await wire.send((GET.replace(b"GET", b"HEAD"),))
        head = await wire.answer(to_head=True)
        assert head is not None
        assert head.status == 200
        assert site.taken == before + 7
        assert site.log.getvalue().count('"outcome": "paid"') == 3


@pytest.mark.parametrize(
    "parts",
    [
        (GET[:20], GET[20:]),
        (post(b"abc")[:-2], b"bc"),
        (GET.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"),),
        (GET.replace(b"Host: shop", b"Host:shop"),),
        (GET.replace(b"\r\n\r\n", b"\r\nX: a\r\nX: b\r\n\r\n"),),
        (GET.replace(b"\r\n\r\n", b"\r\nX: \xc3\xa4\r\n\r\n"),),
        (b"\r\n" + GET,),
        (b"OPTIONS" + GET[3:],),
    ],
    ids=["cut head", "cut body", "1.0", "no space", "twice", "8 bit", "empty line", "OPTIONS"],
)
@on_both_loops
async def test_a_connection_changes_paths_with_every_request(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    async with warm_site(tmp_path) as site, Wire(site.address) as wire:
        for _ in range(5):
            before = site.taken
            await asked(wire, *parts)
            assert site.taken == before
            await asked(wire, GET)  # behind an unusual body it may take the ordinary path
            await asked(wire, GET)
            assert site.taken > before


@on_both_loops
async def test_an_unpaid_request_gets_its_402_and_the_next_one_is_fast(tmp_path: Path) -> None:
    async with warm_site(tmp_path) as site, Wire(site.address) as wire:
        for _ in range(3):
            before = site.taken
            await asked(wire, GET.replace(b"/free", b"/paid"), status=402)
            await asked(wire, GET)
            assert site.taken == before + 1


@on_both_loops
async def test_300_requests_whose_head_and_body_come_in_two_writes(tmp_path: Path) -> None:
    async with warm_site(tmp_path) as site, Wire(site.address) as wire:
        for number in range(int(300 * SCALE)):
            body = b"%d" % number
            request = post(body)
            await asked(wire, request[: -len(body)], body)
        assert sum(site.seen.values()) >= int(300 * SCALE)
        before = site.taken
        await asked(wire, post(b"abc"))
        assert site.taken == before + 1


@on_both_loops
async def test_pipelined_requests_behind_a_fast_one_are_answered_in_order(tmp_path: Path) -> None:
    async with warm_site(tmp_path) as site, Wire(site.address) as wire:
        go = asyncio.Event()

        async def script(connection: RawConnection) -> None:
            await go.wait()
            await connection.send(plain(b"first"))

        site.scripts[b"wait"] = script
        before = site.taken
        await wire.send((scripted(b"wait"), GET, post(b"abc")[:-1], b"c" + GET))
        assert site.taken == before + 1
        go.set()
        bodies = [answer.body for answer in [await wire.answer() for _ in range(4)] if answer is not None]
        assert bodies == [b"first", b"ok\n", b"ok\n", b"ok\n"]
        wire.end()
        assert await wire.rest() == b""


@on_both_loops
async def test_a_half_closed_client_gets_the_answer_that_was_long_in_coming(tmp_path: Path) -> None:
    async with warm_site(tmp_path) as site, Wire(site.address) as wire:
        go = asyncio.Event()

        async def script(connection: RawConnection) -> None:
            await go.wait()
            await connection.send(chunked([b"abc", b"def"]))

        site.scripts[b"wait"] = script
        await wire.send((scripted(b"wait"), GET, GET[:10]))
        wire.end()
        await wire.send((b"",))
        go.set()
        answers = [await wire.answer(), await wire.answer()]
        assert [answer.body for answer in answers if answer is not None] == [b"abcdef", b"ok\n"]
        rest = await wire.rest()
        assert b" 200 " not in rest


@on_both_loops
async def test_a_stalled_client_pauses_the_upstream_and_others_go_on(tmp_path: Path) -> None:
    async with warm_site(tmp_path) as site, Wire(site.address) as stalled, Wire(site.address) as other:
        sent = 0

        async def script(connection: RawConnection) -> None:
            nonlocal sent
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            for _ in range(1_000):
                await connection.send(b"x" * 100_000)
                sent += 100_000

        site.scripts[b"big"] = script
        before = site.taken
        await stalled.send((scripted(b"big"),))
        last = -1
        while last != sent or not sent:
            last = sent
            for _ in range(20):
                await asked(other, GET)
        assert site.taken > before + 20
        assert sent < 30_000_000  # what kernels hold; the gateway holds two reads at most
        answer = await stalled.answer()  # reading again, it gets all of it
        assert answer is not None
        assert len(answer.body) == 100_000_000
        await asked(stalled, GET)


@on_both_loops
async def test_a_client_that_hangs_up_closes_the_silent_upstream_at_once(tmp_path: Path) -> None:
    async with warm_site(tmp_path) as site:
        gone: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        async def script(connection: RawConnection) -> None:
            await connection.read_rest()
            gone.set_result(time.monotonic())

        site.scripts[b"silent"] = script
        before = site.taken
        async with Wire(site.address) as wire:
            await wire.send((scripted(b"silent"),))
            assert site.taken == before + 1
            wire.socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: close with RST
        left = time.monotonic()
        assert await asyncio.wait_for(gone, 10) - left < 1.0
        await asyncio.sleep(0)
        assert '"status": 499, "outcome": "free:cut"' in site.log.getvalue()


@on_both_loops
async def test_a_kept_connection_that_was_closed_costs_no_request_and_one_more_try(tmp_path: Path) -> None:
    async with warm_site(tmp_path) as site, Wire(site.address) as wire:

        async def close(connection: RawConnection) -> None:
            connection.reset()

        async def once(connection: RawConnection) -> None:
            if len(connection.requests) == 1:
                await connection.send(plain(b"new"))
            else:
                connection.reset()

        site.scripts[b"once"] = once
        assert await asked(wire, scripted(b"once")) == b"new"
        assert retried(site) == 1
        site.scripts[b"once"] = close
        await asked(wire, GET)
        assert b"bad_upstream_response" in await asked(wire, scripted(b"once"), status=502)
        assert b"bad_upstream_response" in await asked(wire, scripted(b"once", b"DELETE"), status=502)
        await asked(wire, GET)


@on_both_loops
async def test_a_silent_upstream_is_answered_504_and_the_connection_goes_on(tmp_path: Path) -> None:
    async with warm_site(tmp_path) as site, Wire(site.address) as wire:

        async def silent(connection: RawConnection) -> None:
            await connection.read_rest()

        site.scripts[b"silent"] = silent
        await asked(wire, b"GET /slow/x HTTP/1.1\r\nHost: shop\r\n\r\n")
        before = site.taken
        assert await asked(wire, scripted(b"silent").replace(b"/free", b"/slow"), status=504) == (
            b'{"error": "upstream_timeout"}\n'
        )
        assert site.taken == before + 1
        await asked(wire, GET)


@on_both_loops
async def test_requests_in_flight_are_finished_while_the_gateway_drains(tmp_path: Path) -> None:
    async with warm_site(tmp_path) as site, Wire(site.address) as wire:
        go = asyncio.Event()

        async def script(connection: RawConnection) -> None:
            await go.wait()
            await connection.send(plain(b"whole"))

        site.scripts[b"wait"] = script
        before = site.taken
        await wire.send((scripted(b"wait"),))
        assert site.taken == before + 1
        draining = asyncio.create_task(site.gateway.drain(10, idle_s=0))
        await wire.send((b"",))
        assert not draining.done()
        go.set()
        answer = await wire.answer()
        assert answer is not None
        assert (answer.body, answer.closes) == (b"whole", True)
        assert await wire.rest() == b""
        assert await draining


@on_both_loops
async def test_nobody_gets_anothers_answer_over_mixed_paths(tmp_path: Path) -> None:
    dice = random.Random(11)
    left = int(1_500 * SCALE)

    def body_for(nonce: bytes) -> bytes:
        return hashlib.sha256(nonce).hexdigest().encode() * int(nonce.split(b"-")[2])

    async def script(connection: RawConnection) -> None:
        request = connection.requests[-1]
        nonce = request.values(b"X-Nonce")[0]
        body, kind = body_for(nonce), nonce.split(b"-")[1]
        assert request.body in {b"", nonce}
        line = b"X-Nonce: " + nonce
        if kind == b"chunked":
            await connection.send(chunked([body[:5], body[5:]], line) if body else chunked([], line))
        elif kind == b"pieces":
            answer = plain(body, line)
            await connection.send(answer[:15], answer[15:-1], answer[-1:])
        elif kind == b"surplus":
            await connection.send(plain(body, line) + plain(b"stolen"))
        else:
            await connection.send(plain(body, line))

    async def person(name: str) -> None:
        nonlocal left
        while left > 0:
            async with Wire(site.address) as wire:
                for _ in range(dice.randrange(1, 30)):
                    left -= 1
                    kind = dice.choice(["length", "length", "chunked", "pieces", "surplus"])
                    nonce = f"{name}-{kind}-{dice.choice([0, 1, 300])}-{dice.random()}".encode()
                    fields = b"Host: shop\r\nX-Nonce: %b\r\n" % nonce
                    target = b"/free%bmixed/1" % SCRIPTED
                    get = b"GET %b HTTP/1.1\r\n%b\r\n" % (target, fields)
                    upload = b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (target, fields, len(nonce), nonce)
                    request = dice.choice([get, get, upload])
                    cut = dice.choice([len(request), len(request), dice.randrange(1, len(request))])
                    await wire.send([part for part in (request[:cut], request[cut:]) if part])
                    answer = await wire.answer()
                    assert answer is not None
                    assert (answer.status, answer.complete) == (200, True)
                    assert answer.values(b"x-nonce") == [nonce]
                    assert answer.body == body_for(nonce)

    async with warm_site(tmp_path) as site:
        site.scripts[b"mixed"] = script
        before, asked_for = site.taken, left
        await asyncio.gather(*(person(f"p{number}") for number in range(8)))
        assert asked_for * 0.2 < site.taken - before < asked_for * 0.95


@on_both_loops
async def test_with_the_switch_off_nothing_takes_the_fast_path(tmp_path: Path) -> None:
    async with running_site(tmp_path, fast_path=False) as site, Wire(site.address) as wire:
        await asked(wire, GET)
        await asked(wire, GET)
        assert not isinstance(site.gateway._listener, FastListener)


def test_only_tested_versions_of_aiohttp_take_the_fast_path() -> None:
    assert fast_path_fits()
    assert not fast_path_fits("3.14.6")
    assert TESTED_AIOHTTP


_NAMES = st.sampled_from(
    [b"Host", b"host", b"Accept", b"Content-Length", b"Connection", b"X-A", b"X_b", b"User-Agent", b"Expect", b"Cookie"]
)
_VALUES = st.one_of(
    st.sampled_from([b"shop", b"3", b"0", b"keep-alive", b"close", b"100-continue", b"a b", b"a:b"]),
    st.binary(max_size=4),
)
_LINES = st.lists(st.tuples(_NAMES, st.sampled_from([b": ", b":", b" : "]), _VALUES), max_size=5)
_FIRST = st.tuples(
    st.sampled_from([b"GET", b"POST", b"HEAD", b"get", b"PUT"]),
    st.one_of(
        st.sampled_from([b"/free/x", b"/a?b#c", b"*", b"/a//b"]), st.binary(max_size=3).map(lambda tail: b"/" + tail)
    ),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1 "]),
)


@given(_FIRST, _LINES, st.sampled_from([b"", b"abc", b"GET / "]))
async def test_what_is_read_as_plain_is_read_the_same_by_aiohttp(
    first: tuple[bytes, bytes, bytes], lines: list[tuple[bytes, bytes, bytes]], body: bytes
) -> None:
    data = b"\r\n".join([b" ".join(first), b"Host: shop", *map(b"".join, lines), b"", body])
    head = PlainHeads().read(data)
    if head is None:
        return
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(_Connection(), loop, 2**16, max_line_size=8190, max_field_size=8190)  # type: ignore[arg-type]
    try:
        messages, upgraded, _ = parser.feed_data(data[: head.size])
    except HttpProcessingError as error:
        pytest.fail(f"aiohttp refuses {data!r}: {error}")
    ((message, payload),) = messages
    assert (message.method, message.path, upgraded) == (head.method, head.target, False)
    assert list(message.raw_headers) == list(head.fields.headers)
    assert (message.should_close, message.chunked) == (False, False)
    assert head.size != len(data[: head.size]) or payload.is_eof()


class _Connection:
    """What the parser asks of its connection."""

    def pause_reading(self) -> None:
        """Nothing flows here."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Nothing flows here."""
