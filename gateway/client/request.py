"""A request that can be sent more than once, each time whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from multidict import CIMultiDict
from yarl import URL

from gateway import __version__
from gateway.errors import BuyerError
from gateway.l402.challenge import SCHEMES

CHUNK_BYTES = 65_536
REDIRECTS = frozenset({301, 302, 303, 307, 308})
OURS = frozenset({"content-length", "transfer-encoding", "connection", "expect", "upgrade"})
"""Header fields that frame the request: given by hand they would contradict the body."""
CARRIED_TO_OTHERS = frozenset({"accept", "accept-language", "user-agent", "range"})
"""Header fields that follow a redirect to another origin: none that could identify or authorise the buyer."""

Body = bytes | Path | None
"""What is sent: bytes, or a file read anew for each attempt."""
Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``headers`` may hold secrets: never shown."""

    method: str
    url: URL
    headers: CIMultiDict[str] = field(repr=False)
    body: Body = field(default=None, repr=False)

    @classmethod
    def build(cls, method: str, url: str | URL, headers: Headers = (), body: Body = None) -> Request:
        """Check and complete what the caller wants. Raises ``BuyerError`` (``bad_url`` or ``bad_header``)."""
        fields: CIMultiDict[str] = CIMultiDict(headers)
        for name, value in fields.items():
            if not name.isascii() or any(char in f"{name}{value}" for char in "\r\n\0"):
                raise BuyerError("bad_header", "a header field holds a line break, NUL or a name that is not ASCII")
        if not OURS.isdisjoint(name.lower() for name in fields):
            raise BuyerError("bad_header", f"{', '.join(sorted(OURS))} are set by the request itself")
        fields.setdefault("User-Agent", f"l402-gateway/{__version__}")
        fields.setdefault("Accept", "*/*")
        return cls(method.upper(), _checked(url), fields, body)

    @property
    def origin(self) -> str:
        """``scheme://host:port``, the port always written."""
        host = self.url.host or ""
        return f"{self.url.scheme}://{f'[{host}]' if ':' in host else host}:{self.url.port}"

    @property
    def path(self) -> str:
        """The path as sent, without the query."""
        return self.url.raw_path

    @property
    def followable(self) -> bool:
        """Whether a redirect may be followed: nothing is done twice, no body changes its reader."""
        return self.method in {"GET", "HEAD"} and self.body is None

    def headers_with(self, authorization: str | None) -> CIMultiDict[str]:
        """The fields to send; an L402 credential of ours replaces one the caller gave, other schemes stay beside it."""
        fields = self.headers.copy()
        if authorization is not None:
            kept = [value for value in fields.popall("Authorization", []) if not _is_l402(value)]
            for value in (*kept, authorization):
                fields.add("Authorization", value)
        length = self._body_bytes()
        if length is not None:
            fields["Content-Length"] = str(length)
        return fields

    def stream(self) -> AsyncIterator[bytes] | None:
        """The body from its start, in pieces; None without one."""
        if self.body is None:
            return None
        return _pieces(self.body) if isinstance(self.body, bytes) else _file_pieces(self.body)

    def redirected(self, location: str) -> Request:
        """The request that a ``Location`` asks for; to another origin only harmless header fields are carried."""
        try:
            target = _checked(self.url.join(URL(location)).with_fragment(None))
        except (ValueError, BuyerError) as error:
            raise BuyerError("bad_redirect", "the server redirects to something that is not an http(s) URL") from error
        moved = replace(self, url=target)
        if moved.origin == self.origin:
            return moved
        kept = CIMultiDict((name, value) for name, value in self.headers.items() if name.lower() in CARRIED_TO_OTHERS)
        return replace(moved, headers=kept)

    def _body_bytes(self) -> int | None:
        if self.body is None:
            return 0 if self.method in {"POST", "PUT", "PATCH"} else None
        return len(self.body) if isinstance(self.body, bytes) else self.body.stat().st_size


def _checked(url: str | URL) -> URL:
    try:
        parsed = URL(url)
    except ValueError as error:
        raise BuyerError("bad_url", "not a URL") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise BuyerError("bad_url", "expected a URL that begins with http:// or https://")
    if parsed.user is not None or parsed.password is not None:
        raise BuyerError("bad_url", "no user name or password in the URL: give an Authorization header instead")
    return parsed


def _is_l402(authorization: str) -> bool:
    return authorization.split(" ", 1)[0].upper() in SCHEMES


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]


async def _file_pieces(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield piece
    finally:
        file.close()
