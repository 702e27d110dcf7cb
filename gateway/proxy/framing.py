"""Where a message's body ends, by its head alone (RFC 9112 section 6): one reading, or none.

Whatever two HTTP implementations could frame in two ways is refused; what is accepted is framed anew for the other
side, so that no byte of Content-Length or Transfer-Encoding is ever passed on.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import BadUpstreamResponse, RequestError
from gateway.proxy.fields import is_token

MAX_CONTENT_LENGTH = 2**63 - 1
"""Bytes. Larger numbers wrap in some servers' integers."""

_MAX_DIGITS = 19


def content_length(values: Sequence[bytes]) -> int | None:
    """Return the one Content-Length in bytes, None without any.

    Raises ``ValueError`` for more than one line, also with equal values, and for anything but ASCII digits.
    """
    if not values:
        return None
    text = values[0]
    if len(values) > 1 or not text.isdigit() or len(text) > _MAX_DIGITS or int(text) > MAX_CONTENT_LENGTH:
        raise ValueError("Content-Length is not one whole number")
    return int(text)


def check_request_framing(version: tuple[int, int], lengths: Sequence[bytes], codings: Sequence[bytes]) -> None:
    """Check a request's Content-Length and Transfer-Encoding values.

    Raises ``RequestError`` with ``bad_framing``, or ``unsupported_transfer_coding`` where ``chunked`` comes last but
    not alone. After either the connection's bytes mean nothing any more: it must be closed.
    """
    if not codings:
        try:
            content_length(lengths)
        except ValueError as error:
            raise RequestError("bad_framing", str(error)) from None
        return
    if lengths or len(codings) > 1 or version < (1, 1):
        raise RequestError("bad_framing", "Transfer-Encoding beside Content-Length, twice or in HTTP/1.0")
    names = [part.strip(b" \t").lower() for part in codings[0].split(b",")]
    if names == [b"chunked"]:
        return
    if names[-1] == b"chunked" and names.count(b"chunked") == 1 and all(map(is_token, names)):
        raise RequestError("unsupported_transfer_coding", "the only transfer coding here is chunked")
    raise RequestError("bad_framing", "Transfer-Encoding is not chunked")


def response_length(lengths: Sequence[bytes], codings: Sequence[bytes]) -> int | None:
    """Return a response's Content-Length in bytes, None where it is chunked or ends with the connection.

    Raises ``BadUpstreamResponse`` for several or unreadable lengths, any coding but ``chunked``, and both together.
    """
    if codings and (lengths or len(codings) > 1 or codings[0].strip(b" \t").lower() != b"chunked"):
        raise BadUpstreamResponse("the upstream's Transfer-Encoding is not chunked alone")
    try:
        return content_length(lengths)
    except ValueError:
        raise BadUpstreamResponse("the upstream's Content-Length is not one whole number") from None
