"""A pool for one test, and whole answers from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.proxy.pool import UpstreamPool
from gateway.proxy.services import Origin, Timeouts
from gateway.proxy.upstream import UpstreamRequest, UpstreamResponse
from tests.proxy.raw_upstream import plain

POOL_TIMEOUTS = Timeouts(connect=2.0, first_byte=5.0, idle=5.0)
OK = plain(b"ok")


@asynccontextmanager
async def pool_to(
    origin: Origin,
    *,
    timeouts: Timeouts = POOL_TIMEOUTS,
    max_connections: int = 10,
    keepalive_s: float = 4.0,
    ca_file: str | None = None,
) -> AsyncIterator[UpstreamPool]:
    pool = UpstreamPool(origin, timeouts, ca_file=ca_file, max_connections=max_connections, keepalive_s=keepalive_s)
    try:
        yield pool
    finally:
        await pool.aclose()
        assert pool.open_connections == 0


def a_request(method: str = "GET", body: bytes | AsyncIterator[bytes] | None = None) -> UpstreamRequest:
    return UpstreamRequest(method, "/x?y", [(b"Host", b"up")], body=body)


async def read_all(response: UpstreamResponse) -> bytes:
    body = b""
    try:
        while chunk := await response.read_chunk():
            body += chunk
    finally:
        await response.aclose()
    return body


async def fetch(pool: UpstreamPool, request: UpstreamRequest | None = None) -> bytes:
    return await read_all(await pool.send(request or a_request()))
