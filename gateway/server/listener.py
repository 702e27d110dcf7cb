"""The listening side: aiohttp's server protocol with our limits and our error answers."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import aiohttp
import aiohttp.http_parser
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import BadHttpMessage, BadStatusLine, InvalidHeader, InvalidURLError, LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.errors import GatewayError
from gateway.proxy.request_head import MAX_FIELD_BYTES, MAX_HEADERS
from gateway.server.answers import error_answer

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

AIOHTTP_FLOOR = (3, 14, 5)
"""The oldest aiohttp without a published request-smuggling or memory fault that concerns a proxy."""

LIMITS: dict[str, Any] = {
    "keepalive_timeout": 15.0,  # also the time a client has for its headers
    "lingering_time": 1.0,
    "auto_decompress": False,  # a proxy passes content codings through
    "max_line_size": 8_190,
    "max_field_size": MAX_FIELD_BYTES,
    "max_headers": MAX_HEADERS,
    "read_bufsize": 16_384,  # reading pauses at twice as much of a body that nobody takes
    "access_log": None,
    "tcp_keepalive": True,
}
"""Bounds of a client connection; bytes and seconds."""

RECEIVE_BYTES = 32_768
"""The most that one read takes from a client: with the pause above, 64 KiB of a body before it is wanted."""

RETRIED = web.RequestKey("retried", bool)
"""Key of a request that was sent upstream before, over a kept connection that turned out to be closed."""

_CLIENT_FAULTS = (ConnectionError, BadHttpMessage, web.RequestPayloadError, asyncio.TimeoutError)


class UnsafeRuntime(GatewayError):
    """The installed aiohttp cannot be trusted with a public port."""


def require_safe_runtime() -> None:
    """Refuse to serve with an aiohttp that is too old or without its C parser, which follows other rules."""
    parser = aiohttp.http_parser.HttpRequestParser.__module__
    if parser != "aiohttp._http_parser":
        raise UnsafeRuntime("aiohttp's C extension is missing: reinstall aiohttp from a binary wheel")
    installed = tuple(int(part) for part in aiohttp.__version__.split(".")[:3] if part.isdigit())
    if installed < AIOHTTP_FLOOR:
        floor = ".".join(map(str, AIOHTTP_FLOOR))
        raise UnsafeRuntime(f"aiohttp {aiohttp.__version__} is too old: {floor} or newer is needed")


class ClientConnection(RequestHandler):
    """One client connection."""

    __slots__ = ("body", "ended")

    body: StreamReader | None
    """Body of the request that was taken up last; only the newest one can be unfinished."""
    ended: bool
    """The client has ended its side."""

    def data_received(self, data: bytes) -> None:
        """Head by head: aiohttp forgets the good requests of a segment that a bad one is in (RFC 9112 9.3.2).

        It also drops a body whose framing breaks without telling its reader, who would wait for the rest.
        """
        for piece in _heads(data):
            body = self._messages[-1][1] if self._messages else self.body
            super().data_received(piece)
            if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
                self._fail_unfinished(body, "malformed")
                return

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's contract; aiohttp declares None
        """A client that has ended its side is still answered, once (RFC 9112 section 9.5); an idle one is closed."""
        if self._waiter is not None and not self._waiter.done():  # it waits for a request
            return False
        self.ended = True
        self._fail_unfinished(self._messages[-1][1] if self._messages else self.body, "cut short")
        if not self._messages:
            self.close()
        return True

    @property
    def queued(self) -> int:
        """Requests that wait for the one under way."""
        return len(self._messages)

    @staticmethod
    def _fail_unfinished(body: StreamReader | None, reason: str) -> None:
        if body is not None and not body.is_eof():
            body.set_exception(web.RequestPayloadError(reason))
            body.feed_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse, or what a handler let slip, without echo and without traceback."""
        if status == 500 and exc is not None and not isinstance(exc, BadHttpMessage):
            self.log_exception("request failed", exc_info=exc)
        return error_answer(_parser_code(status, exc), close=True)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Only our own faults are worth a traceback."""
        error = kw.get("exc_info")
        if not isinstance(error, _CLIENT_FAULTS):
            super().log_exception(*args, **kw)


_MOST_HEADS = 32
"""Requests of one segment that are parsed one by one: as many as aiohttp queues. Of more, a bad one still takes
good ones with it: they are not run, and the connection ends."""


def _heads(data: bytes) -> list[bytes]:
    """``data``, cut behind each empty line, which may have begun in the segment before; mostly ``[data]``."""
    rest = data.lstrip(b"\r\n")
    begun = [data[: len(data) - len(rest)]] if 0 < len(rest) < len(data) else []
    if not begun:
        rest = data
    if 0 <= rest.find(b"\r\n\r\n") < len(rest) - 4:
        *heads, rest = rest.split(b"\r\n\r\n", _MOST_HEADS)
        begun += [head + b"\r\n\r\n" for head in heads]
    return [*begun, rest] if rest or not begun else begun


_PARSER_CODES: tuple[tuple[type[BadHttpMessage], str, str], ...] = (
    # aiohttp's parser tells most reasons only in words; tests/conformance pins these
    (InvalidURLError, "", "bad_path"),
    (LineTooLong, r"[\w ]+: bytearray\(", "uri_too_long"),
    (LineTooLong, "", "header_too_large"),
    (InvalidHeader, "", "bad_header"),
    (BadStatusLine, r"Bad status line:\s+(Invalid HTTP version|Expected HTTP/2)", "http_version"),
    (BadHttpMessage, "Pause on PRI", "http_version"),  # where HTTP/2 with prior knowledge begins (RFC 9113 3.4)
    (BadStatusLine, "", "bad_request"),
    (BadHttpMessage, "Too many headers", "too_many_headers"),
    (BadHttpMessage, ".*'Host'", "bad_host"),
    (BadHttpMessage, ".*(Transfer-Encoding|Content-Length|[Cc]hunk)", "bad_framing"),
    (BadHttpMessage, ".*(header|space after start line)", "bad_header"),
)


def _parser_code(status: int, exc: BaseException | None) -> str:
    if status == 504:
        return "upstream_timeout"
    if status >= 500:
        return "internal_error"
    # from the start only: further below the parser repeats what the client sent
    reason = exc.message if isinstance(exc, BadHttpMessage) else ""
    matching = (code for kind, words, code in _PARSER_CODES if isinstance(exc, kind) and re.match(words, reason))
    return next(matching, "bad_request")


class Listener(web.Server):
    """Accepts connections and gives each one a ``ClientConnection``.

    ``idle_s``: seconds that a client has for a request's header, and between requests.
    """

    connection_class: type[ClientConnection] = ClientConnection

    def __init__(self, handler: Handler, *, idle_s: float = LIMITS["keepalive_timeout"]) -> None:
        self._limits = {**LIMITS, "keepalive_timeout": idle_s}
        super().__init__(handler, **self._limits)

    def __call__(self) -> ClientConnection:
        """A protocol for one connection; an unknown limit is an error here, where aiohttp would drop them all."""
        connection = self.connection_class(self, loop=asyncio.get_running_loop(), **self._limits)
        connection.body = None
        connection.ended = False
        return connection

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        connection = cast("ClientConnection", protocol)
        connection.body = payload
        # aiohttp may drop what follows an upgrade that is not taken: better no connection than a lost request
        if message.upgrade or (connection.ended and not connection.queued):
            message = message._replace(should_close=True)
        return super()._make_request(message, payload, protocol, writer, task)


class BoundedReads(asyncio.BufferedProtocol):
    """Hands a connection at most ``RECEIVE_BYTES`` at a time; a plain protocol is given up to 256 KiB.

    ``buffer`` is shared by all connections of a loop: each read is parsed before the next begins.
    """

    def __init__(self, connection: ClientConnection, buffer: memoryview) -> None:
        self._connection = connection
        self._buffer = buffer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: accepted."""
        self._connection.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """asyncio: where to read into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio: bytes arrived."""
        self._connection.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool:
        """asyncio: the client ended its side."""
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: gone."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """asyncio: the send buffer is full."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """asyncio: the send buffer has room."""
        self._connection.resume_writing()


async def listen(server: Listener, host: str, port: int, *, backlog: int = 1024) -> asyncio.Server:
    """Bind and accept. Raises ``OSError`` where the address is taken or not ours."""
    loop = asyncio.get_running_loop()
    buffer = memoryview(bytearray(RECEIVE_BYTES))
    return await loop.create_server(
        lambda: BoundedReads(server(), buffer), host, port, backlog=backlog, reuse_address=True
    )


def bound_address(server: asyncio.Server) -> tuple[str, int]:
    """(host, port) of a listening server's first socket."""
    listening: socket.socket = server.sockets[0]
    host, port = listening.getsockname()[:2]
    return str(host), int(port)
