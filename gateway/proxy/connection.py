"""One TCP or TLS connection to an upstream: a request at a time, its answer handed over as it arrives."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from typing import Protocol, cast

from gateway.errors import BadUpstreamResponse, GatewayError
from gateway.proxy.response_parser import HeadAndBody, ResponseParser

RECEIVE_BYTES = 65_536
"""The most that one read takes from the socket: bounds what a paused stream holds."""


class ResponseSink(HeadAndBody, Protocol):
    """Who receives an answer: ``on_head``, any number of ``on_body``, then ``on_end`` or ``on_failure``; ``on_read``
    behind each read in between, so that all of it can be passed on in one write.

    Called synchronously from the connection's read event, so a consumer may write straight to another transport, and
    call ``pause_reading()`` and ``resume_reading()`` of the connection as that transport fills and drains. After
    ``on_end`` or ``on_failure`` the connection no longer belongs to the sink. ``on_failure`` may come first.
    """

    def on_read(self) -> None:
        """All of one read was handed over, and the answer goes on."""

    def on_end(self) -> None:
        """The answer is complete."""

    def on_failure(self, error: GatewayError) -> None:
        """The answer ends here, incomplete."""


class ConnectionOwner(Protocol):
    """The pool, as a connection sees it."""

    def connection_idle(self, connection: UpstreamConnection) -> None:
        """The exchange is over and the connection can serve another one."""

    def connection_closed(self, connection: UpstreamConnection) -> None:
        """The connection is gone."""


class NoAnswer(BadUpstreamResponse):
    """The upstream closed the connection before a byte of its answer."""


class UpstreamConnection(asyncio.BufferedProtocol):
    """A connection of the pool. ``receive_buffer`` may be shared by all connections of one event loop: each read is
    parsed before the next begins.

    A request goes out with ``begin()``, then any ``write()`` and ``request_sent()`` where its body is streamed. Once
    the answer is complete and the request was sent, the connection returns to its owner; after anything irregular it
    closes instead and is never used again.
    """

    def __init__(self, owner: ConnectionOwner, receive_buffer: memoryview) -> None:
        self._owner = owner
        self._receive_buffer = receive_buffer
        self._parser = ResponseParser()
        self._transport: asyncio.Transport | None = None
        self._sink: ResponseSink | None = None
        self._sending = False
        self._paused = False
        self._writable: asyncio.Future[None] | None = None
        self._write_paused = False
        self._spare: socket.socket | None = None
        self.exchanges = 0
        """Requests begun on this connection."""

    @property
    def usable(self) -> bool:
        """A request can be begun."""
        return self._sink is None and self._transport is not None and not self._transport.is_closing()

    def has_news(self) -> bool:
        """Whether an idle connection has something to read: the end, or bytes nobody asked for (one system call)."""
        if self._transport is None:
            return True
        poller = select.poll()
        poller.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poller.poll(0))

    # Sending

    def begin(self, sink: ResponseSink, data: bytes, *, to_head: bool = False, complete: bool = True) -> None:
        """Write the request's head, and with ``complete`` all of its body, and expect the answer for ``sink``."""
        transport = self._transport
        if transport is None:
            raise RuntimeError("begin() on a closed connection")
        self._sink = sink
        self.exchanges += 1
        self._sending = not complete
        if self._sending:
            self._spare = _duplicate(transport)
        self._parser.expect(sink, to_head=to_head)
        transport.write(data)

    def write(self, data: bytes) -> bool:
        """Write some of the request's body; False when the exchange is over and nothing more is wanted."""
        transport = self._transport
        if self._sink is None or transport is None or transport.is_closing():
            return False
        transport.write(data)
        return True

    async def writable(self) -> None:
        """Wait until the socket takes more, or the connection is gone."""
        if self._write_paused:
            if self._writable is None:
                self._writable = asyncio.get_running_loop().create_future()
            await self._writable

    def request_sent(self) -> None:
        """The whole request was written."""
        self._sending = False
        self._drop_spare()

    # Flow control and the end, for the sink

    def pause_reading(self) -> None:
        """Stop taking bytes from the upstream."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take bytes again."""
        if self._paused:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, unsent bytes are dropped; the sink is not told."""
        self._sink = None
        if self._transport is not None:
            self._transport.abort()

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected (and, for TLS, verified)."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """asyncio: where to read into."""
        return self._receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio: bytes arrived."""
        if self._sink is None:
            # Bytes that no request asked for: a late body, a 408, an answer to nobody. Never pass them on.
            self.abort()
            return
        try:
            self._parser.feed(self._receive_buffer[:nbytes])
        except BadUpstreamResponse as error:
            self.fail(error)
            return
        if self._parser.complete:
            self._finish()
        else:
            self._sink.on_read()

    def eof_received(self) -> bool:
        """asyncio: the upstream ended its side; ours ends too."""
        if self._sink is not None:
            try:
                self._parser.feed_eof()
            except BadUpstreamResponse as error:
                self.fail(error if self._parser.started else NoAnswer(str(error)))
            else:
                self._finish()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: gone."""
        if self._spare is not None:
            self._salvage(self._spare)
        self._drop_spare()
        self._transport = None
        self._wake_writer()
        if self._sink is not None:
            kind = BadUpstreamResponse if self._parser.started else NoAnswer
            self.fail(kind("the upstream reset the connection"))
        self._parser.close()
        self._owner.connection_closed(self)

    def pause_writing(self) -> None:
        """asyncio: the send buffer is full."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """asyncio: the send buffer has room."""
        self._write_paused = False
        self._wake_writer()

    # The end of an exchange

    def _finish(self) -> None:
        sink, self._sink = self._sink, None
        if sink is None:
            return
        self.resume_reading()
        if self._sending or not self._parser.reusable:
            self.abort()
        else:
            self._owner.connection_idle(self)
        sink.on_end()

    def fail(self, error: GatewayError) -> None:
        """Close at once and end the exchange under way, if there is one, with ``error``."""
        sink = self._sink
        self.abort()
        if sink is not None:
            sink.on_failure(error)

    def _salvage(self, spare: socket.socket) -> None:
        """Read what the kernel still holds of an answer.

        An upstream that refuses an upload answers and closes while we write. Our next write then fails, and asyncio
        drops the socket with the answer unread in its buffer; a duplicate of the descriptor can still read it.
        """
        while self._sink is not None:
            try:
                count = spare.recv_into(self._receive_buffer)
            except OSError:
                return
            if not count:
                self.eof_received()
                return
            self.buffer_updated(count)

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def _wake_writer(self) -> None:
        self._write_paused = False
        waiter, self._writable = self._writable, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _duplicate(transport: asyncio.Transport) -> socket.socket | None:
    """A second descriptor for a plain TCP connection; None for TLS, whose bytes only its own transport can read."""
    if transport.get_extra_info("sslcontext") is not None:
        return None
    spare = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    spare.setblocking(False)
    return spare
