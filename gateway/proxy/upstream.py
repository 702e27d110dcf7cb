"""A request for an upstream and its answer, read chunk by chunk by a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from dataclasses import dataclass, field

from gateway.errors import GatewayError, RequestError, UpstreamTimeout
from gateway.proxy.connection import UpstreamConnection
from gateway.proxy.fields import RawHeaders, joined_lines
from gateway.proxy.response_head import ResponseHead
from gateway.proxy.services import Timeouts
from gateway.proxy.watch import Watch

HIGH_WATER_BYTES = 65_536
"""Unread body that pauses the upstream. One read more (``RECEIVE_BYTES``) may arrive before that."""
CHECK_INTERVAL_S = 0.5
"""How often a waiting exchange asks whether its client is still there; its deadline is met as exactly as that."""
_BODY_EXPECTED = frozenset({"POST", "PUT", "PATCH"})


class Abandoned(GatewayError):
    """The client is gone: nobody waits for the answer. Never leaves this package."""


@dataclass(slots=True)
class UpstreamRequest:
    """A request, ready but for its framing fields, which the pool writes.

    ``body`` None means no body; bytes are sent together with the head; an iterable is streamed, with
    ``content_length`` or, where that is None, chunked. ``abandoned`` is asked twice a second while nothing else
    happens; once it returns True the exchange ends with Abandoned. ``fresh`` asks for a new connection: the request was
    lost on a kept one before.
    """

    method: str
    target: str
    headers: list[tuple[bytes, bytes]] = field(repr=False)
    body: AsyncIterable[bytes] | bytes | None = field(default=None, repr=False)
    content_length: int | None = None
    abandoned: Callable[[], bool] | None = field(default=None, repr=False)
    fresh: bool = False

    @property
    def replayable(self) -> bool:
        """Sending it twice does no harm: no body, and a safe method (RFC 9110 section 9.2.1)."""
        return self.body is None and self.method in {"GET", "HEAD", "OPTIONS"}

    def head(self) -> bytes:
        """Request line, header section and framing fields. Raises RequestError where a line break is hidden in one."""
        lines = [f"{self.method} {self.target} HTTP/1.1".encode("ascii"), *map(b": ".join, self.headers)]
        lines += self._framing()
        try:
            return joined_lines(lines)
        except ValueError:
            raise RequestError("bad_header") from None

    def _framing(self) -> list[bytes]:
        if self.body is None:
            # RFC 9110 section 8.6: methods that expect content say that there is none.
            return [b"Content-Length: 0"] if self.method in _BODY_EXPECTED else []
        length = len(self.body) if isinstance(self.body, bytes) else self.content_length
        return [b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length]


class UpstreamResponse:
    """The answer to one request. ``status`` and ``headers`` are as received.

    Holds at most ``HIGH_WATER_BYTES`` and one read of unread body; the upstream is paused meanwhile. A streamed
    request body is sent by a task that this object owns: call ``aclose()`` in the end, always.
    """

    __slots__ = (
        "_chunks",
        "_connection",
        "_deadline",
        "_ended",
        "_failure",
        "_head",
        "_limit",
        "_loop",
        "_request",
        "_sender",
        "_sending",
        "_timeouts",
        "_unread",
        "_waiter",
        "_watch",
    )

    def __init__(
        self, connection: UpstreamConnection, request: UpstreamRequest, timeouts: Timeouts, watch: Watch
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._watch = watch
        self._connection: UpstreamConnection | None = connection
        self._request = request
        self._timeouts = timeouts
        self._head: ResponseHead | None = None
        self._chunks: list[bytes] = []
        self._unread = 0
        self._ended = False
        self._failure: GatewayError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._limit = 0.0
        self._deadline = 0.0
        self._sending = False
        self._sender: asyncio.Task[None] | None = None

    # The head

    @property
    def head(self) -> ResponseHead:
        """The checked head; there is one as soon as ``UpstreamPool.send()`` has returned."""
        if self._head is None:
            raise RuntimeError("no response head yet")
        return self._head

    @property
    def status(self) -> int:
        """The status code, 200 to 599."""
        return self.head.status

    @property
    def headers(self) -> RawHeaders:
        """All header lines, order, case and duplicates kept."""
        return self.head.headers

    # The body

    @property
    def at_end(self) -> bool:
        """Every byte of the body was read, and the answer is complete."""
        return self._ended and not self._chunks

    @property
    def failure(self) -> GatewayError | None:
        """Why the answer will not be complete, as soon as that is known."""
        return self._failure

    @property
    def finished(self) -> bool:
        """Nothing is left that ``aclose()`` would have to end."""
        return self._connection is None and self._sender is None

    def read_nowait(self) -> bytes:
        """What has arrived of the body, possibly nothing."""
        chunks = self._chunks
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._unread = 0
        if self._connection is not None:
            self._connection.resume_reading()
        return data

    async def read_chunk(self) -> bytes:
        """The next part of the body, ``b""`` at its proper end.

        Raises UpstreamTimeout after ``timeouts.idle`` seconds of silence, BadUpstreamResponse where the body is cut or
        malformed, and what the request's body raised where that broke the exchange.
        """
        while not self._chunks:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                return b""
            await self._wait(self._timeouts.idle)
        return self.read_nowait()

    async def aclose(self) -> None:
        """Give up what is left: an unfinished exchange closes its connection, the sending task ends."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        if self._sender is not None and not self._sender.done():
            self._sender.cancel()
            await asyncio.wait([self._sender])

    # Used by the pool

    async def open(self) -> None:
        """Send the request and wait for the response's head.

        Raises UpstreamTimeout when it does not come within ``timeouts.first_byte`` seconds of the last byte sent,
        NoAnswer where the connection closes without a byte, other BadUpstreamResponse for an answer that breaks HTTP.
        """
        connection, request = self._connection, self._request
        if connection is None:
            raise RuntimeError("open() after the end")
        head, body = request.head(), request.body
        to_head = request.method == "HEAD"
        if body is None or isinstance(body, bytes):
            connection.begin(self, head + body if body else head, to_head=to_head)
        else:
            connection.begin(self, head, to_head=to_head, complete=False)
            self._sending = True
            self._sender = asyncio.create_task(self._send_body(connection, body))
        while self._head is None:
            if self._failure is not None:
                raise self._failure
            await self._wait(self._timeouts.first_byte)

    # ResponseSink

    def on_head(self, head: ResponseHead) -> None:
        """The connection: a final head."""
        self._head = head
        self._wake()

    def on_body(self, data: bytes) -> None:
        """The connection: some of the body."""
        self._chunks.append(data)
        self._unread += len(data)
        if self._unread > HIGH_WATER_BYTES and self._connection is not None:
            self._connection.pause_reading()
        self._wake()

    def on_read(self) -> None:
        """The connection: that was all for now; whoever reads is awake already."""

    def on_end(self) -> None:
        """The connection: complete."""
        self._connection = None
        self._ended = True
        self._wake()

    def on_failure(self, error: GatewayError) -> None:
        """The connection: incomplete, for good."""
        self._connection = None
        self._failure = error
        self._wake()

    # Waiting

    async def _wait(self, limit: float) -> None:
        """Until something happens; fails the exchange ``limit`` seconds after now or the end of sending."""
        self._limit = limit
        self._deadline = self._loop.time() + limit
        self._watch.add(self)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._watch.remove(self)

    def check(self, now: float) -> None:
        """The watch: end an exchange that nobody waits for, or that has waited long enough."""
        if self._request.abandoned is not None and self._request.abandoned():
            self._fail(Abandoned("the client is gone"))
        # While the request's body flows its own reads and writes have deadlines, and silence is what to expect.
        elif not self._sending and now >= self._deadline:
            self._fail(UpstreamTimeout("the upstream fell silent"))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: GatewayError) -> None:
        """End the exchange from this side."""
        if self._ended or self._failure is not None:
            return
        if self._connection is not None:
            self._connection.abort()
        self.on_failure(error)

    # The request's body

    async def _send_body(self, connection: UpstreamConnection, body: AsyncIterable[bytes]) -> None:
        try:
            await self._stream(connection, body)
        except GatewayError as error:
            self._fail(error)
        finally:
            self._sending = False
            self._deadline = self._loop.time() + self._limit
            if isinstance(body, AsyncGenerator):
                await body.aclose()

    async def _stream(self, connection: UpstreamConnection, body: AsyncIterable[bytes]) -> None:
        left = self._request.content_length
        chunked = left is None
        async for data in body:
            if not data:
                continue
            if left is not None:
                left -= len(data)
                if left < 0:
                    raise RequestError("bad_framing", "the request's body is longer than its Content-Length")
            if not connection.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data):
                return
            await self._progress(connection)
        if left:
            raise RequestError("bad_framing", "the request's body is shorter than its Content-Length")
        if not chunked or connection.write(b"0\r\n\r\n"):
            connection.request_sent()

    async def _progress(self, connection: UpstreamConnection) -> None:
        """Let the socket take what was written. One turn of the loop at least, so that an early answer is read."""
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(self._timeouts.idle):
                await connection.writable()
        except TimeoutError:
            raise UpstreamTimeout("the upstream stopped reading the request's body") from None
