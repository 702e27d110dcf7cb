"""A scripted upstream on a raw socket: it records every byte it gets and sends exactly what its script says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType

from gateway.proxy.services import Origin

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class RecordedRequest:
    """``head`` runs to and includes the empty line; ``body`` is without chunk framing, ``raw_body`` with."""

    head: bytes
    body: bytes = b""
    raw_body: bytes = b""

    @property
    def request_line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


class RawConnection:
    """One accepted connection, as the script sees it. ``received`` holds every byte read from it so far."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        self.received = bytearray()
        self.requests: list[RecordedRequest] = []
        self.closed = asyncio.Event()

    async def _exactly(self, count: int) -> bytes:
        data = await self.reader.readexactly(count)
        self.received += data
        return data

    async def _line(self) -> bytes:
        data = await self.reader.readuntil(b"\r\n")
        self.received += data
        return data

    async def read_head(self) -> RecordedRequest:
        """Raises asyncio.IncompleteReadError when the peer ends its side first."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.received += head
        request = RecordedRequest(head)
        self.requests.append(request)
        return request

    async def read_request(self) -> RecordedRequest:
        request = await self.read_head()
        await self.read_body(request)
        return request

    async def read_body(self, request: RecordedRequest) -> None:
        if request.values(b"Transfer-Encoding"):
            start = len(self.received)
            body = bytearray()
            while size := int(await self._line(), 16):
                body += await self._exactly(size)
                await self._line()
            while await self._line() != b"\r\n":
                pass
            request.body, request.raw_body = bytes(body), bytes(self.received[start:])
        elif length := request.values(b"Content-Length"):
            request.body = request.raw_body = await self._exactly(int(length[0]))

    async def read_rest(self) -> bytes:
        """All until the peer's end; a reset counts as the end."""
        rest = bytearray()
        try:
            while data := await self.reader.read(65_536):
                rest += data
                self.received += data
        except ConnectionError:
            pass
        return bytes(rest)

    async def send(self, *parts: bytes) -> None:
        """Each part in a write of its own, with a turn of the loop between."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    def fin(self) -> None:
        """End our side in good order."""
        self.writer.close()

    def reset(self) -> None:
        """Close with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[RawConnection], Awaitable[None]]


@dataclass
class RawUpstream:
    """``async with RawUpstream(script) as upstream`` serves each connection with ``script``, then closes it."""

    script: Script
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    limit: int = 1 << 20
    connections: list[RawConnection] = field(default_factory=list)
    port: int = 0
    faults: list[BaseException] = field(default_factory=list)

    async def __aenter__(self) -> RawUpstream:
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls, limit=self.limit)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        if self.faults and error is None:
            raise self.faults[0]

    @property
    def origin(self) -> Origin:
        return Origin("https" if self.tls else "http", "localhost" if self.tls else self.host, self.port)

    @property
    def requests(self) -> list[RecordedRequest]:
        return [request for connection in self.connections for request in connection.requests]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = RawConnection(reader, writer, len(self.connections))
        self.connections.append(connection)
        try:
            await self.script(connection)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as fault:  # noqa: BLE001 - a failed assertion of the script, raised again at the end
            self.faults.append(fault)
        finally:
            connection.closed.set()
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._tasks.discard(task)


def answering(*parts: bytes, forever: bool = True) -> Script:
    """A script that reads a whole request and answers with ``parts``, on a kept connection as often as asked."""

    async def script(connection: RawConnection) -> None:
        while True:
            await connection.read_request()
            await connection.send(*parts)
            if not forever:
                return

    return script


def answering_once_then(*parts: bytes, reset: bool = False) -> Script:
    """A script that reads a whole request, answers with ``parts`` and closes, with RST where ``reset``."""

    async def script(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(*parts)
        if reset:
            connection.reset()

    return script


def plain(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """An answer with a Content-Length."""
    head = [b"HTTP/1.1 " + status, *lines, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(chunks: Iterable[bytes], *lines: bytes, trailer: bytes = b"") -> bytes:
    """An answer in chunks."""
    head = b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"Transfer-Encoding: chunked"]) + b"\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n" + trailer + b"\r\n"


@asynccontextmanager
async def closing_soon(upstream: RawUpstream) -> AsyncIterator[None]:
    """The upstream's latest connection is closed within a second of the block's end."""
    yield
    async with asyncio.timeout(1):
        await upstream.connections[-1].closed.wait()
