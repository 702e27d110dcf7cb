"""A whole gateway between a raw client and a scripted raw upstream that records what reaches it."""

from __future__ import annotations

import asyncio
import io
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from gateway.config import load_settings
from gateway.lightning.simulated import SimulatedNode
from gateway.server.app import Gateway, running_gateway
from gateway.server.fast_path import FastListener
from gateway.server.logs import configure_logging
from tests.proxy.raw_upstream import RawConnection, RawUpstream, RecordedRequest, Script

OPEN = """
services:
  - {name: free, match: {path: /free/**}, upstream: UPSTREAM, price: free}
  - {name: slow, match: {path: /slow/**}, upstream: UPSTREAM, price: free, timeouts: {first_byte: 300ms, idle: 300ms}}
  - {name: paid, match: {path: /paid/**}, upstream: UPSTREAM, price: 10 sat}
"""
"""Any host, nobody trusted."""
HOSTS = """
trusted_proxies: [127.0.0.1, 10.0.0.0/8]
services:
  - {name: free, match: {host: a.example, path: /free/**}, upstream: UPSTREAM, price: free}
"""
"""One host, behind trusted proxies."""

BODY = b"ok\n"
ANSWER = b'HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nETag: "1"\r\nx-oDD: a\r\nContent-Length: 3\r\n'
"""The head of what the upstream answers, without the empty line: odd case, nothing that HTTP does not ask for."""

SCRIPTED = b"/scripted/"
_TOKEN_ID = re.compile(rb"(X-L402-Token-Id: )[0-9a-f]{64}")


@dataclass(slots=True)
class Site:
    """What a test touches. ``seen`` and ``cut`` hold requests that the upstream got whole and in part."""

    gateway: Gateway
    log: io.StringIO
    scripts: dict[bytes, Script]
    upstream: RawUpstream
    seen: Counter[bytes]
    cut: list[bytes]
    was_cut: asyncio.Queue[bytes]
    credential: bytes = b""

    @property
    def address(self) -> tuple[str, int]:
        return self.gateway.address

    @property
    def taken(self) -> int:
        """Requests that took the fast path."""
        listener = self.gateway._listener
        return listener.plain.taken if isinstance(listener, FastListener) else 0

    async def buy(self) -> None:
        """Pay for /paid/ once; ``credential`` is the Authorization value from then on."""
        node = self.gateway.node
        assert isinstance(node, SimulatedNode)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{self.address[1]}/paid/x") as answer:
                offer = await answer.json()
            async with session.post(f"{node.endpoint}/pay", json={"invoice": offer["invoice"]}) as paid:
                preimage = (await paid.json())["preimage"]
        self.credential = f"L402 {offer['macaroon']}:{preimage}".encode()


@dataclass(slots=True)
class Records:
    """The upstream's side of a site."""

    port: int = 0
    scripts: dict[bytes, Script] = field(default_factory=dict)
    seen: Counter[bytes] = field(default_factory=Counter)
    cut: list[bytes] = field(default_factory=list)
    was_cut: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)

    async def serve(self, connection: RawConnection) -> None:
        while True:
            request = await connection.read_head()
            try:
                await connection.read_body(request)
            except asyncio.IncompleteReadError:
                self.cut.append(self.normal(request))
                self.was_cut.put_nowait(self.cut[-1])
                raise
            chunked = request.values(b"Transfer-Encoding")
            assert not chunked or request.raw_body.endswith(b"0\r\n\r\n"), request.raw_body
            self.seen[self.normal(request)] += 1
            method, target, _ = request.request_line.split(b" ")
            key = target.partition(SCRIPTED)[2].partition(b"/")[0]
            if key:
                await self.scripts[key](connection)
            else:
                await connection.send(ANSWER + b"\r\n" + (b"" if method == b"HEAD" else BODY))

    def normal(self, request: RecordedRequest) -> bytes:
        """The request as the upstream read it, without what differs from run to run; a body without its chunks."""
        head = request.head.replace(b"Host: 127.0.0.1:%d\r\n" % self.port, b"Host: upstream\r\n")
        return _TOKEN_ID.sub(rb"\1id", head) + request.body


@asynccontextmanager
async def running_site(folder: Path, services: str = OPEN, *, fast_path: bool = True) -> AsyncIterator[Site]:
    """Start upstream and gateway; stop both."""
    records = Records()
    stream = io.StringIO()
    log = configure_logging(people=False, stream=stream)
    async with RawUpstream(records.serve) as upstream:
        records.port = upstream.port
        url = f"http://127.0.0.1:{upstream.port}"
        config = folder / "gateway.yaml"
        config.write_text(
            "listen: 127.0.0.1:0\nlightning: {backend: simulated, listen: '127.0.0.1:0'}\n"
            f"fast_path: {str(fast_path).lower()}\n" + services.replace("UPSTREAM", url)
        )
        async with running_gateway(load_settings(config, {}), log) as gateway:
            site = Site(gateway, stream, records.scripts, upstream, records.seen, records.cut, records.was_cut)
            yield site
