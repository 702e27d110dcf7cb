"""An upstream's answer on its way to the client: written straight to the client's transport, byte for byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from gateway.errors import BadUpstreamResponse
from gateway.proxy.fields import RawHeaders, joined_lines, response_key
from gateway.proxy.http_date import http_date
from gateway.proxy.response_head import Framing, ResponseHead
from gateway.proxy.upstream import Abandoned, UpstreamResponse

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER, on and zero seconds: closing sends RST."""


def client_gone(request: web.BaseRequest) -> bool:
    """The client's connection is closed, or closing."""
    transport = request.transport
    return transport is None or transport.is_closing()


class RelayedResponse(web.StreamResponse):
    """A response that is already on the wire when aiohttp gets to see it.

    aiohttp would fold header names, drop bytes that are not UTF-8, add fields of its own and write head and body
    apart; so this class writes both itself and leaves to aiohttp what happens afterwards: keep-alive or close.
    """

    def __init__(self, request: web.BaseRequest, status: int) -> None:
        super().__init__(status=status)
        self._client = request
        self._persistent = False
        self._chunked_body = False
        self._until_close = False
        self._begun = False
        self._body_bytes = 0

    def __repr__(self) -> str:
        return f"<RelayedResponse {self.status} body_bytes={self._body_bytes}>"

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """aiohttp, after the handler: nothing to do."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """aiohttp, after the handler: nothing to do."""

    @property
    def keep_alive(self) -> bool:
        """Whether the client's connection serves another request."""
        return self._persistent

    @property
    def prepared(self) -> bool:
        """Whether the head was written."""
        return self._begun

    @property
    def body_length(self) -> int:
        """Bytes of body written, without framing."""
        return self._body_bytes

    async def relay(
        self, upstream: UpstreamResponse, fields: RawHeaders, *, keep_alive: bool, write_timeout_s: float
    ) -> None:
        """Write head and body as they come, head and what is there of the body in one write.

        Raises Abandoned when the client is gone or takes nothing for ``write_timeout_s`` seconds, and what
        ``UpstreamResponse.read_chunk()`` raises. The caller then calls ``abort()``.
        """
        head = self._compose_head(upstream.head, fields, keep_alive=keep_alive)
        self._begun = True
        self._write(head + self._framed(upstream.read_nowait(), last=upstream.at_end))
        while not upstream.at_end:
            await self._drain(write_timeout_s)
            chunk = await upstream.read_chunk()
            framed = self._framed(chunk, last=upstream.at_end)
            if framed:
                self._write(framed)
        await self._drain(write_timeout_s)

    def abort(self) -> None:
        """Cut the client's connection, so that a part is never taken for the whole (RFC 9112 section 8)."""
        self._persistent = False
        transport = self._client.transport
        if transport is None:
            return
        if self._until_close:
            # Here a close is how a complete body ends: only a reset says that this one is not.
            with contextlib.suppress(OSError):
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()

    def _compose_head(self, head: ResponseHead, fields: RawHeaders, *, keep_alive: bool) -> bytes:
        modern = self._client.version >= (1, 1)
        unknown_length = head.framing is Framing.CHUNKED or head.framing is Framing.CLOSE
        self._chunked_body = unknown_length and modern
        self._until_close = unknown_length and not modern
        self._persistent = keep_alive and not self._until_close
        option = b"close" if not self._persistent else b"" if modern else b"keep-alive"
        return compose_head(head, fields, chunked=self._chunked_body, connection=option)

    def _framed(self, chunk: bytes, *, last: bool) -> bytes:
        self._body_bytes += len(chunk)
        return framed_chunk(chunk, last=last) if self._chunked_body else chunk

    def _write(self, data: bytes) -> None:
        transport = self._client.transport
        if transport is None or transport.is_closing():
            raise Abandoned("the client is gone")
        transport.write(data)
        self._client.writer.output_size += len(data)

    async def _drain(self, timeout_s: float) -> None:
        if not self._client.protocol.writing_paused:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._client.writer.drain()
        except TimeoutError:
            raise Abandoned("the client takes nothing") from None
        except ConnectionError:
            raise Abandoned("the client is gone") from None


def compose_head(head: ResponseHead, fields: RawHeaders, *, chunked: bool, connection: bytes) -> bytes:
    """The head that the client gets, to its empty line; ``connection`` is that field's value, empty without one.

    Raises BadUpstreamResponse where a value holds a line break.
    """
    return head_of_lines(head, _end_to_end_lines(head, fields), chunked=chunked, connection=connection)


def head_of_lines(head: ResponseHead, fields: list[bytes], *, chunked: bool, connection: bytes) -> bytes:
    """As ``compose_head``, of lines that are complete but for what concerns the connection."""
    lines = [b"HTTP/1.1 %d %b" % (head.status, head.reason), *fields]
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    if connection:
        lines.append(b"Connection: " + connection)
    try:
        return joined_lines(lines)
    except ValueError:
        raise BadUpstreamResponse("a line break in a response header") from None


def framed_chunk(data: bytes, *, last: bool) -> bytes:
    """``data`` as one chunk (none where it is empty), and with ``last`` the end of the body (RFC 9112 section 7.1)."""
    framed = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return framed + b"0\r\n\r\n" if last else framed


def encoded_fields(fields: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Our own header fields as bytes."""
    return [(name.encode("ascii"), value.encode("utf-8")) for name, value in fields]


def _end_to_end_lines(head: ResponseHead, fields: RawHeaders) -> list[bytes]:
    """``fields`` as header lines; a Date (RFC 9110 section 6.6.1) and the known length are added where missing."""
    lines = list(map(b": ".join, fields))
    keys = [response_key(name) for name, _ in fields]
    if head.content_length is not None and head.status != 204 and b"content-length" not in keys:
        lines.append(b"Content-Length: %d" % head.content_length)
    if b"date" not in keys:
        lines.append(b"Date: " + http_date())
    return lines
