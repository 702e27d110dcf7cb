"""An answer of our own as bytes on the wire: always HTTP/1.1, and nothing in it that we did not put there."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from gateway.proxy.fields import joined_lines
from gateway.proxy.http_date import http_date

SERVER = "l402-gateway"
"""What the Server header of our own answers says: no version, no library."""


class Answer(web.StreamResponse):
    """A short, complete answer. aiohttp would echo a client's odd version and leave out ``Connection: close`` then.

    ``fields`` are header fields without framing; ``close`` ends the connection after it.
    """

    def __init__(
        self, status: int, fields: Sequence[tuple[str, str]], body: bytes = b"", *, close: bool = False
    ) -> None:
        super().__init__(status=status)
        self.fields = list(fields)
        self._content = body
        self._close = close
        self._written = False
        self._persistent = False

    def force_close(self) -> None:
        """End the connection after this answer."""
        self._close = True

    def add(self, name: str, value: str) -> None:
        """One more header field."""
        self.fields.append((name, value))

    @property
    def prepared(self) -> bool:
        """Whether it was written."""
        return self._written

    @property
    def closes(self) -> bool:
        """Whether it ends the connection, whatever the client would like."""
        return self._close

    @property
    def keep_alive(self) -> bool:
        """Whether the connection serves another request."""
        return self._persistent

    @property
    def body_length(self) -> int:
        """Bytes of body."""
        return len(self._content)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write everything at once, the first time."""
        if self._written:
            return None
        self._written = True
        # A chunked request's trailers are not to be trusted to stay with it: its connection ends.
        self._persistent = not self._close and bool(request.keep_alive) and "Transfer-Encoding" not in request.headers
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        option = "close" if not self._persistent else "" if request.version >= (1, 1) else "keep-alive"
        request.transport.write(self._composed(option, to_head=request.method == "HEAD"))
        return None

    def encoded(self, *, to_head: bool) -> bytes:
        """All of it, for an HTTP/1.1 client whose connection is kept unless ``closes``."""
        return self._composed("close" if self._close else "", to_head=to_head)

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything was written by ``prepare``."""

    def _composed(self, connection: str, *, to_head: bool) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {_phrase(self.status)}"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        if self.status != HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Length: {len(self._content)}")
        lines += [f"Date: {http_date().decode()}", f"Server: {SERVER}"]
        if connection:
            lines.append(f"Connection: {connection}")
        body = b"" if to_head else self._content
        return joined_lines([line.encode() for line in lines]) + body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
