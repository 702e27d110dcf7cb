"""A server with a Forwarder behind it, and a raw client for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from gateway.errors import GatewayError
from gateway.proxy.forwarding import Forwarder, Relayed
from gateway.proxy.headers import RawHeaders
from gateway.proxy.services import Origin, Service, Timeouts
from gateway.server.listener import Listener, listen

GET = b"GET / HTTP/1.1\r\nHost: g\r\n\r\n"
TIMEOUTS = Timeouts(connect=2.0, first_byte=5.0, idle=5.0)
_HOP = {b"connection", b"keep-alive", b"te", b"transfer-encoding", b"content-length", b"expect", b"host", b"upgrade"}


@dataclass
class Front:
    service: Service
    forwarder: Forwarder
    port: int = 0
    relayed: list[Relayed] = field(default_factory=list)
    errors: list[GatewayError] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    extra: Sequence[tuple[str, str]] = ()
    done: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = [line for line in request.raw_headers if line[0].lower() not in _HOP]
        headers.append((b"Host", self.service.origin.authority.encode()))
        try:
            relayed = await self.forwarder.forward(
                request, service=self.service, target=request.raw_path, headers=headers, on_head=self.on_head
            )
        except GatewayError as error:
            async with self.done:
                self.errors.append(error)
                self.done.notify_all()
            response = web.Response(status=502, text=type(error).__name__)
            response.force_close()
            return response
        async with self.done:
            self.relayed.append(relayed)
            self.done.notify_all()
        return relayed.response

    def on_head(self, status: int, _fields: RawHeaders) -> Sequence[tuple[str, str]]:
        self.heads.append(status)
        return self.extra

    async def finished(self, count: int = 1) -> None:
        async with asyncio.timeout(10), self.done:
            await self.done.wait_for(lambda: len(self.relayed) + len(self.errors) >= count)


@asynccontextmanager
async def front(
    origin: Origin,
    *,
    timeouts: Timeouts = TIMEOUTS,
    ca_file: str | None = None,
    max_body_bytes: int | None = None,
    max_connections: int = 1000,
    extra: Sequence[tuple[str, str]] = (),
) -> AsyncIterator[Front]:
    """A forwarder behind the gateway's own listener."""
    service = Service("api", origin, timeouts=timeouts, ca_file=ca_file, max_body_bytes=max_body_bytes)
    gate = Front(service, Forwarder(max_connections=max_connections), extra=extra)
    server = Listener(gate.handle)
    listener = await listen(server, "127.0.0.1", 0)
    gate.port = listener.sockets[0].getsockname()[1]
    try:
        yield gate
    finally:
        listener.close()
        await listener.wait_closed()
        await server.shutdown(0.1)
        await gate.forwarder.aclose()


@dataclass
class Answer:
    status_line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    complete: bool
    """False where the connection ended before the body did (a close-delimited body: where it was reset)."""

    @property
    def status(self) -> int:
        return int(self.status_line.split(b" ")[1])

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class RawClient:
    """A client that sends bytes and reads answers strictly."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    async def get(self, path: str = "/", *lines: str) -> Answer:
        await self.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: gate", *lines, "", ""]).encode())
        return await self.answer()

    async def post(self, body: bytes, path: str = "/", *lines: str) -> Answer:
        head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: gate", f"Content-Length: {len(body)}", *lines, "", ""])
        await self.send(head.encode() + body)
        return await self.answer()

    async def head(self) -> Answer:
        async with asyncio.timeout(15):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.split(b"\r\n")[:-2]
        return Answer(first, [(n, v.strip()) for n, _, v in (line.partition(b":") for line in lines)], b"", True)

    async def answer(self, *, to_head: bool = False) -> Answer:
        async with asyncio.timeout(30):
            answer = await self.head()
            while answer.status < 200:
                answer = await self.head()
            if not to_head and answer.status not in {204, 304}:
                await self._body(answer)
            return answer

    async def _body(self, answer: Answer) -> None:
        body = bytearray()
        try:
            if answer.values(b"Transfer-Encoding"):
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    body += await self.reader.readexactly(size)
                    assert await self.reader.readexactly(2) == b"\r\n"
                assert await self.reader.readexactly(2) == b"\r\n"
            elif length := answer.values(b"Content-Length"):
                body += await self.reader.readexactly(int(length[0]))
            else:
                while data := await self.reader.read(65_536):
                    body += data
        except (asyncio.IncompleteReadError, ConnectionError) as cut:
            answer.complete = False
            body += getattr(cut, "partial", b"")
        answer.body = bytes(body)

    async def at_end(self) -> bool:
        """Nothing more comes, and the server closes (a reset counts)."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def client(port: int, *, limit: int = 1 << 20) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
