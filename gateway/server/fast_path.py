"""The fast path's coupling to aiohttp: which segments a connection takes for itself, and which aiohttp gets to see.

aiohttp sees whole requests or none: a segment is taken only where aiohttp waits for a request, its parser stands
between two messages, and the segment is one plain request from its first byte to its last. Everything else reaches
``ClientConnection`` byte for byte. Attributes of aiohttp's that this file reads: ``_waiter``, ``_messages``,
``_request_in_progress``, ``_close``, ``_force_close``, ``_upgraded``, ``_paused`` and ``_keepalive_timeout``; and it
moves ``_next_keepalive_close_time``.
"""

from __future__ import annotations

import asyncio
from typing import cast

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.server.listener import LIMITS, RETRIED, ClientConnection, Handler, Listener
from gateway.server.plain_exchange import PlainExchange
from gateway.server.plain_head import PlainHead
from gateway.server.plain_requests import PlainRequests

TESTED_AIOHTTP = frozenset({"3.14.5"})
"""Versions whose internals were read and tested; with another one everything takes the ordinary path."""

MAX_HELD_BYTES = 32_768
"""Bytes that wait behind a request under way before the client is read no further."""

MAX_TURNS = 3
"""Turns of the loop that aiohttp has, behind an answer, to wait for the next request; it needs two."""

_UNKNOWN = -1


def fast_path_fits(version: str = aiohttp.__version__) -> bool:
    """Whether this aiohttp is one that the fast path was tested with."""
    return version in TESTED_AIOHTTP


class FastConnection(ClientConnection):
    """A client connection that answers plain requests from its read event."""

    __slots__ = ("_exchange", "_held", "_held_bytes", "_owed", "_plain", "_remote", "_retrying", "_turns")

    _plain: PlainRequests
    _exchange: PlainExchange | None
    _held: list[bytes]
    """Segments behind the request that ``_exchange`` answers; the first one is that request itself."""
    _held_bytes: int
    _owed: int
    """Bytes until aiohttp's parser stands between two messages; -1 where that is unknown."""
    _remote: str
    _turns: int
    _retrying: bool
    """The next request that aiohttp takes up was sent upstream before."""

    def set_up(self, plain: PlainRequests) -> None:
        """Fields of this class; aiohttp's constructor takes no more arguments."""
        self._plain = plain
        self._exchange = None
        self._held = []
        self._held_bytes = 0
        self._owed = 0
        self._remote = ""
        self._retrying = False
        self._turns = 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: accepted."""
        super().connection_made(transport)
        peer = self.peername
        self._remote = str(peer[0]) if isinstance(peer, list | tuple) else ""

    def data_received(self, data: bytes) -> None:
        """asyncio: a segment; aiohttp also calls this with no bytes, to parse what it holds."""
        if not data:
            super().data_received(data)
        elif self._exchange is not None or self._held:
            self._hold(data)
        elif self._owed == 0 and self._aiohttp_waits():
            self._take(data)
        elif self._owed == 0 and self._aiohttp_is_done():
            self._hold(data)
            self._turns = MAX_TURNS
            self._loop.call_soon(self._look_again)
        else:
            self._account(data, self._plain.heads.read(data) if self._owed == 0 else None)
            self._pass_on(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's contract; aiohttp declares None
        """asyncio: the client ended its side; what it asked for is still answered."""
        if self._exchange is None:
            if self._held:
                self._pass_on_held()
            return super().eof_received()
        self.ended = True
        return True

    def resume_writing(self) -> None:
        """asyncio: the send buffer has room."""
        super().resume_writing()
        if self._exchange is not None:
            self._exchange.resume()

    def connection_lost(self, exc: BaseException | None) -> None:
        """asyncio: gone."""
        exchange, self._exchange = self._exchange, None
        self._held.clear()
        if exchange is not None:
            exchange.abandon()
        super().connection_lost(exc)

    # PlainClient

    @property
    def last_request(self) -> bool:
        """The client has ended its side, and nothing waits."""
        return self.ended and len(self._held) <= 1

    def exchange_over(self, *, keep: bool) -> None:
        """The answer was written."""
        self._exchange = None
        del self._held[0]
        if not keep or (self.ended and not self._held):
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._held:
            self.data_received(self._released())
            self._end_if_ended()

    def exchange_again(self) -> None:
        """The request is to be answered by aiohttp's path, from its first byte."""
        self._exchange = None
        self._plain.retried += 1
        self._retrying = True
        request = self._held.pop(0)
        super().data_received(request)
        if self._held:
            self._pass_on_held()
        self._end_if_ended()

    def was_retried(self) -> bool:
        """Whether the request that aiohttp takes up now was sent upstream before; asked once per request."""
        retrying, self._retrying = self._retrying, False
        return retrying

    # Inside

    def _aiohttp_waits(self) -> bool:
        waiter = self._waiter
        return not (
            waiter is None
            or waiter.done()
            or self._messages
            or self._force_close
            or self._close
            or self._upgraded
            or self._paused
        )

    def _aiohttp_is_done(self) -> bool:
        """Whether it has written its last answer, and only has to come round to waiting for a request."""
        return self._waiter is None and not self._request_in_progress and not self._messages

    def _look_again(self) -> None:
        """A few turns of the loop after an answer of aiohttp's, it waits for the request that is held here."""
        if self._exchange is not None or not self._held:
            return
        if self._aiohttp_waits():
            self._take(self._released())
        elif self._turns:
            self._turns -= 1
            self._loop.call_soon(self._look_again)
        else:
            self._pass_on_held()

    def _take(self, data: bytes) -> None:
        """Begin to answer the one plain request that ``data`` is, or pass it on."""
        head = self._plain.heads.read(data)
        self._account(data, head)
        if head is not None and self._owed == 0 and self.transport is not None:
            self._exchange = self._plain.begin(head, data, self._remote, self, self.transport)
        if self._exchange is None:
            self._pass_on(data)
        else:
            self._held.append(data)

    def _account(self, data: bytes, head: PlainHead | None) -> None:
        """Note where aiohttp's parser will stand behind ``data``; between two messages, it begins with ``head``."""
        if self._owed == 0 and head is not None:
            self._owed = head.size
        self._owed = self._owed - len(data) if self._owed >= len(data) else _UNKNOWN

    def _pass_on_held(self) -> None:
        data = self._released()
        self._account(data, self._plain.heads.read(data) if self._owed == 0 else None)
        self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        """To aiohttp. An empty line that ends a request without a body ends a message, whatever came before it."""
        super().data_received(data)
        if self._owed == _UNKNOWN and data.endswith(b"\r\n\r\n") and self._messages:
            message, payload = self._messages[-1]
            if payload is EMPTY_PAYLOAD and not isinstance(message, _ErrInfo):
                self._owed = 0

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > MAX_HELD_BYTES and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def _released(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        if self._held_bytes > MAX_HELD_BYTES and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()
        self._held_bytes = 0
        return data

    def _end_if_ended(self) -> None:
        """The client ended its side while a request of its was answered: now aiohttp hears of it."""
        if self.ended and self._exchange is None and not super().eof_received():
            self.force_close()

    def _process_keepalive(self) -> None:
        """aiohttp: the connection has been idle for long. It is not while an exchange runs."""
        if self._exchange is not None:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()


class FastListener(Listener):
    """Gives each connection a ``FastConnection``. ``plain`` is what they share."""

    connection_class = FastConnection

    def __init__(self, handler: Handler, plain: PlainRequests, *, idle_s: float = LIMITS["keepalive_timeout"]) -> None:
        super().__init__(handler, idle_s=idle_s)
        self.plain = plain

    def __call__(self) -> ClientConnection:
        """A protocol for one connection."""
        connection = cast("FastConnection", super().__call__())
        connection.set_up(self.plain)
        return connection

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        request = super()._make_request(message, payload, protocol, writer, task)
        if cast("FastConnection", protocol).was_retried():
            request[RETRIED] = True
        return request
