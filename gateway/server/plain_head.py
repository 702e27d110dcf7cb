"""Request heads that can be read in one way only, by a grammar narrower than HTTP's; all others go to aiohttp's parser.

::

    head  = method SP target SP "HTTP/1.1" CRLF 1*( name ": " value CRLF ) CRLF
    name  = 1*( ALPHA / DIGIT / "-" / "_" )                ; none twice
    value = VCHAR *( SP / VCHAR )                          ; no white space at its end
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.errors import RequestError
from gateway.proxy.headers import Inspected, RawHeaders, check_request_head, credential_fields

MAX_HEAD_BYTES = 8_000
"""Longer heads are for aiohttp, whose limits for a line and a field lie above this."""
MAX_BODY_BYTES = 65_536
"""Longer bodies are for aiohttp, which streams them. More than one read holds never arrives with its head anyway."""
MAX_FIELDS = 64

_HEAD = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE) (/[!-~]*+) HTTP/1\.1\r\n((?:[A-Za-z0-9_-]++: [!-~][ -~]*+\r\n)++)\r\n"
)
_FIELD = re.compile(rb"([^:]++): ([^\r]++)\r\n")
_UNUSUAL = frozenset(
    {
        b"expect",
        b"keep-alive",
        b"proxy-connection",
        b"sec-websocket-key1",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that change what the bytes behind the head are, or that aiohttp's parser acts upon."""


MAX_REMEMBERED_BYTES = 2_048
MAX_REMEMBERED = 1_024
"""Header sections up to this length are remembered with what was found in them; about 8 MB in all."""


class PlainFields:
    """A header section that passed ``check_request_head``; ``length`` is the body's, in bytes.

    ``sent`` is for whoever forwards it: what its fields became, and for whom. It holds a credential: never shown.
    """

    __slots__ = ("credentials", "found", "headers", "length", "sent")

    def __init__(self, headers: RawHeaders, found: Inspected) -> None:
        self.headers = headers
        self.found = found
        self.credentials = credential_fields(headers, found)
        self.length = int(found[b"content-length"][0]) if b"content-length" in found else 0
        self.sent: tuple[object, bytes] | None = None


class PlainHead(NamedTuple):
    """The head of a plain request. ``size`` is the whole request's, ``body_at`` where its body begins."""

    method: str
    target: str
    fields: PlainFields
    body_at: int
    size: int


class PlainHeads:
    """Reads heads, and remembers header sections: most clients send the same one with each of their requests."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, ...], PlainFields] = {}

    def read(self, data: bytes) -> PlainHead | None:
        """Read the request that ``data`` begins with; None where its head is not whole, not plain or not correct."""
        match = _HEAD.match(data, 0, MAX_HEAD_BYTES)
        if match is None:
            return None
        key = match.group(1, 3)
        method = key[0].decode("ascii")
        fields = self._known.get(key)
        if fields is None:
            fields = _checked(method, key[1])
            if fields is None:
                return None
            self._remember(key, fields)
        body_at = match.end()
        return PlainHead(method, match[2].decode("ascii"), fields, body_at, body_at + fields.length)

    def _remember(self, key: tuple[bytes, ...], fields: PlainFields) -> None:
        if len(key[1]) <= MAX_REMEMBERED_BYTES:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[key] = fields


def _checked(method: str, lines: bytes) -> PlainFields | None:
    headers = _FIELD.findall(lines)
    if b" \r\n" in lines or not _are_plain(headers):
        return None
    try:
        found = check_request_head(method, (1, 1), headers)
    except RequestError:
        return None
    if b"connection" in found and found[b"connection"][0].lower() != b"keep-alive":
        return None
    fields = PlainFields(headers, found)
    return fields if fields.length <= (0 if method == "HEAD" else MAX_BODY_BYTES) else None


def _are_plain(headers: RawHeaders) -> bool:
    names = {name.lower() for name, _ in headers}
    return len(names) == len(headers) <= MAX_FIELDS and names.isdisjoint(_UNUSUAL)
