"""Many requests of many kinds at once: each client gets its own answer, whole, and nobody else's."""

from __future__ import annotations

import asyncio
import hashlib
import random

from tests.conftest import SCALE
from tests.proxy.front import RawClient, client, front
from tests.proxy.loops import on_both_loops
from tests.proxy.raw_upstream import RawConnection, RawUpstream, chunked, plain

REQUESTS = int(2000 * SCALE)


def body_for(nonce: bytes) -> bytes:
    size = int(nonce.split(b"-")[2])
    return (hashlib.sha256(nonce).hexdigest().encode() * (size // 64 + 1))[:size]


async def unruly(connection: RawConnection) -> None:
    """Answers with a body made from the request's nonce, in every way an upstream can, proper and not."""
    while True:
        request = await connection.read_request()
        nonce = request.values(b"X-Nonce")[0]
        kind = nonce.split(b"-")[1]
        body, line = body_for(nonce), b"X-Nonce: " + nonce
        assert not request.body or request.body == body_for(nonce)
        if kind == b"length" or (kind == b"pieces" and request.head.startswith(b"HEAD")):
            await connection.send(plain(body, line))
        elif kind == b"chunked":
            await connection.send(chunked([part for part in (body[:7], body[7:]) if part], line))
        elif kind == b"surplus":
            await connection.send(plain(body, line) + plain(b"stolen", b"X-Nonce: stolen"))
        elif kind == b"pieces":
            answer = plain(body, line)
            await connection.send(answer[:20], answer[20:-1], answer[-1:])
        elif kind == b"empty":
            await connection.send(b"HTTP/1.1 204 No Content\r\n" + line + b"\r\n\r\n")
        elif kind == b"closing":
            await connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + line + b"\r\n\r\n" + body)
            return
        elif kind == b"cut":
            await connection.send(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + line + b"\r\nContent-Length: 99999\r\n\r\n" + body
            )
            return
        else:
            connection.reset()
            return


KINDS = ["length", "chunked", "surplus", "pieces", "empty", "closing", "cut", "reset"]
WEIGHTS = [10, 10, 2, 4, 3, 2, 1, 1]


@on_both_loops
async def test_no_answer_reaches_another_client_over_thousands_of_mixed_requests() -> None:
    dice = random.Random(7)
    done = 0

    async def exchange(caller: RawClient, name: str) -> bool:
        kind = dice.choices(KINDS, WEIGHTS)[0]
        nonce = f"{name}-{kind}-{dice.choice([0, 1, 10, 1000, 20_000])}-{dice.random()}"
        expected = body_for(nonce.encode())
        method = dice.choice(["GET", "GET", "HEAD", "POST"])
        line = f"X-Nonce: {nonce}"
        if method == "POST":
            got = await caller.post(expected, "/", line)
        else:
            await caller.send(f"{method} / HTTP/1.1\r\nHost: g\r\n{line}\r\n\r\n".encode())
            got = await caller.answer(to_head=method == "HEAD")
        if got.status == 502:
            assert kind == "reset"
            return False
        assert got.values(b"X-Nonce") == [nonce.encode()]
        if method == "HEAD":
            # This upstream answers HEAD with a body: surplus, which must go nowhere.
            return got.values(b"Connection") != [b"close"]
        assert got.body == (b"" if kind == "empty" else expected)
        assert got.complete is (kind != "cut")
        return got.complete and got.values(b"Connection") != [b"close"]

    async def person(name: str) -> None:
        nonlocal done
        while done < REQUESTS:
            async with client(gate.port) as caller:
                while done < REQUESTS:
                    done += 1
                    if not await exchange(caller, name):
                        break

    async with RawUpstream(unruly) as upstream, front(upstream.origin, max_connections=3) as gate:
        await asyncio.gather(*(person(name) for name in ("alice", "bob")))
        assert len(upstream.connections) < len(upstream.requests)
