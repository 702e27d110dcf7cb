"""What header fields are made of, the same for requests and responses: names, values, lists, hop-by-hop names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from gateway.errors import BadUpstreamResponse

RawHeaders = Sequence[tuple[bytes, bytes]]
"""Header fields as received: spelling, order and duplicates kept."""

TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""Characters of a token (RFC 9110 section 5.6.2)."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields for one connection only (RFC 9110 section 7.6.1), folded; the gateway speaks for itself on each side."""

# Letters, digits and 0x80-0xff, space, tab and visible ASCII: all that may stand in a value (RFC 9110 section 5.5).
_VALUE_BYTES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_FOLD = bytes(
    byte if chr(byte).isdigit() or byte >= 0x80 else ord(chr(byte).lower()) if chr(byte).isalpha() else ord("-")
    for byte in range(256)
)


def folded(name: bytes) -> bytes:
    """Return the spelling under which names are compared: lower case, every mark as '-'.

    CGI-like servers see ``X.Forwarded.For`` and ``X_Forwarded_For`` as ``X-Forwarded-For``; so does every rule here.
    """
    return name.translate(_FOLD)


def are_names(names: Sequence[bytes]) -> bool:
    """Tell whether every name is a token. One pass over the joined names: this runs for every message."""
    # '(' cannot be part of a token, so that exactly the joints may be left over.
    return b"" not in names and len(b"(".join(names).translate(None, TCHAR)) == max(len(names) - 1, 0)


def are_values(values: Sequence[bytes]) -> bool:
    """Tell whether no value holds a control other than tab. 8-bit bytes are for the caller to judge."""
    return len(b"\n".join(values).translate(None, _VALUE_BYTES)) == max(len(values) - 1, 0)


def is_token(text: bytes) -> bool:
    """Tell whether ``text`` is one token."""
    return bool(text) and not text.translate(None, TCHAR)


_RESPONSE_KEYS = HOP_BY_HOP | {
    b"access-control-allow-origin",
    b"cache-control",
    b"content-length",
    b"date",
}


@lru_cache(maxsize=1024)
def response_key(name: bytes) -> bytes:
    """The lower-case name of a response field that this gateway looks at or keeps back, ``b""`` of another.

    Raises BadUpstreamResponse for a name that is no token.
    """
    if not is_token(name):
        raise BadUpstreamResponse("the upstream sent a header field that breaks HTTP")
    key = name.lower()
    return key if key in _RESPONSE_KEYS else b""


def joined_lines(lines: Sequence[bytes]) -> bytes:
    """A message's head: ``lines``, each ended, and the empty line after them.

    Raises ``ValueError`` for a line break inside a line: the last gate against a message hidden in a value.
    """
    head = b"\r\n".join(lines)
    # Every line break is one that was put here.
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        raise ValueError("a line break inside a header field")
    return head + b"\r\n\r\n"


def elements(values: Iterable[bytes]) -> list[bytes]:
    """Return the elements of a comma-separated list over all of its lines, without white space and empty ones."""
    return [part for value in values for element in value.split(b",") if (part := element.strip(b" \t"))]


def nominated(headers: RawHeaders) -> frozenset[bytes]:
    """Return the names, in lower case, that Connection lines give to this hop beyond ``HOP_BY_HOP``."""
    # The length first: most names are told apart without building a lower-case copy.
    lines = [value for name, value in headers if len(name) == 10 and name.lower() == b"connection"]
    return frozenset().union(*map(_nominated, lines)) if lines else frozenset()


@lru_cache(maxsize=256)
def _nominated(line: bytes) -> frozenset[bytes]:
    return frozenset(elements([line.lower()])) - HOP_BY_HOP - {b"close"}
