"""The head of an upstream's answer, checked by rules that the C parser leaves to its user, and how its body ends."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from gateway.errors import BadUpstreamResponse
from gateway.proxy.fields import RawHeaders, response_key
from gateway.proxy.framing import response_length

MAX_FIELD_BYTES = 8_190
"""Longest header line, name and value together."""
MAX_HEAD_BYTES = 32_768
"""Longest head; also the longest run of chunk extensions or trailers without a body byte between."""
MAX_FIELDS = 128

_CONTROLS = bytes([*range(9), *range(10, 32), 127])
_VERSIONS = {"1.1": (1, 1), "1.0": (1, 0)}


class Framing(StrEnum):
    """How the end of a response's body is known (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class ResponseHead(NamedTuple):
    """A final (2xx to 5xx) response head. ``headers`` are as received, names' case and order kept.

    ``content_length`` is the announced length, None where none was announced; for HEAD, 204 and 304 it says nothing
    about bytes that follow (``framing`` is NONE). ``reusable`` tells if the connection may serve another request.
    """

    status: int
    reason: bytes
    version: tuple[int, int]
    headers: RawHeaders
    framing: Framing
    content_length: int | None
    reusable: bool


def response_head(status: int, reason: bytes, version: str, headers: RawHeaders, *, to_head: bool) -> ResponseHead:
    """Check a final response's head and find its framing; ``to_head`` says that the request's method was HEAD.

    Raises BadUpstreamResponse for a status outside 200 to 599, another version than HTTP/1.0 or 1.1, control
    characters in the reason, more or longer header lines than the limits, and ambiguous framing: any
    Transfer-Encoding but one ``chunked`` on HTTP/1.1, a second or malformed Content-Length, or both (RFC 9112
    sections 6.1 and 6.3).
    """
    number = _VERSIONS.get(version)
    if number is None:
        raise BadUpstreamResponse("the upstream's HTTP version is not 1.0 or 1.1")
    if not 200 <= status <= 599:
        raise BadUpstreamResponse(f"the upstream's status {status:03d} is outside 200 to 599")
    if reason.translate(None, _CONTROLS) != reason:
        raise BadUpstreamResponse("control character in the upstream's reason phrase")
    length, chunked, persistent = _framing_fields(headers, number)
    if to_head or status in {204, 304}:
        # A 204 or 304 that announces content may be followed by it: its connection is not trusted again.
        unclear = not to_head and (chunked or bool(length))
        return ResponseHead(status, reason, number, headers, Framing.NONE, length, persistent and not unclear)
    if chunked:
        return ResponseHead(status, reason, number, headers, Framing.CHUNKED, None, persistent)
    if length is not None:
        return ResponseHead(status, reason, number, headers, Framing.LENGTH, length, persistent)
    return ResponseHead(status, reason, number, headers, Framing.CLOSE, None, False)


def check_interim(status: int, headers: RawHeaders) -> None:
    """Refuse a 1xx head that nobody asked for (101) or that announces a body (RFC 9110 section 15.2)."""
    if status == 101:
        raise BadUpstreamResponse("the upstream switched protocols unasked")
    if any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in headers):
        raise BadUpstreamResponse("an interim response of the upstream announces a body")


def _framing_fields(headers: RawHeaders, version: tuple[int, int]) -> tuple[int | None, bool, bool]:
    """(content length, chunked, connection persists)."""
    if len(headers) > MAX_FIELDS:
        raise BadUpstreamResponse("the upstream sent too many header fields")
    lengths: list[bytes] = []
    codings: list[bytes] = []
    persistent = version == (1, 1)
    size = 4 * len(headers)
    for name, value in headers:
        line = len(name) + len(value)
        if line > MAX_FIELD_BYTES:
            raise BadUpstreamResponse("the upstream sent a header field that is too long")
        size += line
        key = response_key(name)
        if not key:
            continue
        if key == b"connection":
            persistent = _persistent(value, persistent)
        elif key == b"content-length":
            lengths.append(value)
        elif key == b"transfer-encoding":
            codings.append(value)
    if size > MAX_HEAD_BYTES:
        raise BadUpstreamResponse("the upstream's header section is too long")
    if codings and version != (1, 1):
        raise BadUpstreamResponse("the upstream sent Transfer-Encoding with HTTP/1.0")
    return response_length(lengths, codings), bool(codings), persistent


@lru_cache(maxsize=256)
def _persistent(value: bytes, before: bool) -> bool:
    options = {option.strip() for option in value.lower().split(b",")}
    return b"close" not in options and (before or b"keep-alive" in options)
