"""The listening side: aiohttp's server protocol with our limits and our error answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import aiohttp.http_parser
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.errors import GatewayError
from gateway.server.answers import error_answer

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

AIOHTTP_FLOOR = (3, 14, 5)
"""The oldest aiohttp without a published request-smuggling or memory fault that concerns a proxy."""

LIMITS: dict[str, Any] = {
    "keepalive_timeout": 15.0,  # also the time a client has for its headers
    "lingering_time": 1.0,
    "auto_decompress": False,  # a proxy passes content codings through
    "max_line_size": 8_190,
    "max_field_size": 8_190,
    "max_headers": 100,
    "read_bufsize": 65_536,
    "access_log": None,
    "tcp_keepalive": True,
}
"""Bounds of a client connection; bytes and seconds."""


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

    __slots__ = ("body",)

    body: StreamReader | None
    """Body of the request that was taken up last; only the newest one can be unfinished."""

    def data_received(self, data: bytes) -> None:
        """aiohttp drops a body whose framing breaks without telling its reader, who would wait for the rest."""
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            self._fail_unfinished(self.body, "malformed")

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's contract; aiohttp declares None
        """A client that has ended its side is still answered, once (RFC 9112 section 9.5); an idle one is closed."""
        if self._waiter is not None and not self._waiter.done():  # it waits for a request
            return False
        self._fail_unfinished(self._messages[-1][1] if self._messages else self.body, "cut short")
        if not self._messages:
            self.close()
        return True

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


_PARSER_CODES = (
    # aiohttp's parser tells its reasons only in words; tests/server/test_raw_requests.py pins these
    ("bytearray(", "uri_too_long"),
    ("Got more than", "header_too_large"),
    ("Too many headers", "too_many_headers"),
    ("'Host'", "bad_host"),
    ("Transfer-Encoding", "bad_framing"),
    ("Content-Length", "bad_framing"),
    ("header", "bad_header"),
)


def _parser_code(status: int, exc: BaseException | None) -> str:
    if status == 504:
        return "upstream_timeout"
    if status >= 500:
        return "internal_error"
    reason = str(exc)
    return next((code for words, code in _PARSER_CODES if words in reason), "bad_request")


class Listener(web.Server):
    """Accepts connections and gives each one a ``ClientConnection``."""

    def __init__(self, handler: Handler) -> None:
        super().__init__(handler, **LIMITS)

    def __call__(self) -> RequestHandler:
        """A protocol for one connection; an unknown limit is an error here, where aiohttp would drop them all."""
        connection = ClientConnection(self, loop=asyncio.get_running_loop(), **LIMITS)
        connection.body = None
        return connection

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        protocol.body = payload  # type: ignore[attr-defined]  # ours, made above
        return super()._make_request(message, payload, protocol, writer, task)


async def listen(server: Listener, host: str, port: int, *, backlog: int = 1024) -> asyncio.Server:
    """Bind and accept. Raises ``OSError`` where the address is taken or not ours."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(server, host, port, backlog=backlog, reuse_address=True)


def bound_address(server: asyncio.Server) -> tuple[str, int]:
    """(host, port) of a listening server's first socket."""
    listening: socket.socket = server.sockets[0]
    host, port = listening.getsockname()[:2]
    return str(host), int(port)
