"""L402 credentials in request headers, found so that they do not travel on to the upstream.

Only what is L402 goes: other schemes in Authorization, even folded into the same line, and macaroons that are no L402
tokens (an LND behind the gateway takes its own in Grpc-Metadata-Macaroon) belong to the upstream and stay.
"""

from __future__ import annotations

import base64
import binascii
import re
from contextlib import suppress

from gateway.l402.identifier import IDENTIFIER_BYTES

_PIECE = re.compile(rb'(?:[^,"]++|"(?:[^"\\]++|\\.)*+")++', re.DOTALL)
_CLOSED_QUOTES = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_L402_SCHEME = re.compile(rb"(?:l402|lsat)(?=[ \t]|$)", re.IGNORECASE)
# A scheme and its credentials, but not `realm = "x"`, which goes on with the credentials before it.
_OTHER_SCHEME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]++(?!=)")

_SCHEME_AND_SPACE = frozenset({b"l402 ", b"l402\t", b"l402", b"lsat ", b"lsat\t", b"lsat"})

_V2 = 2
_LOCATION = 1
_IDENTIFIER = 2
_L402_VERSION = b"\x00\x00"
_MAX_VARINT_BITS = 63
_STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")


def without_l402(value: bytes) -> bytes | None:
    """Return an Authorization value without its L402 and LSAT elements, None where nothing is left.

    Lines are cut up as ``gateway.l402.credentials`` does, so that nothing which it would read stays behind. A value
    that holds none is returned unchanged, byte for byte.
    """
    if value[:5].lower() in _SCHEME_AND_SPACE and b"," not in value and b'"' not in value:
        return None  # one element, ours: nearly always, and found without a regular expression
    kept: list[bytes] = []
    dropped = dropping = False
    for piece in map(bytes.strip, _pieces(value)):
        if _L402_SCHEME.match(piece):
            dropped = dropping = True
        elif _OTHER_SCHEME.match(piece):
            dropping = False
        if piece and not dropping:
            kept.append(piece)
    return (b", ".join(kept) or None) if dropped else value


def without_l402_macaroon(value: bytes) -> bytes | None:
    """Return the value of a header that may hold a macaroon, None where it holds an L402 one (hex or base64)."""
    return None if any(_is_l402_macaroon(part.strip(b" \t")) for part in value.split(b",")) else value


def _pieces(value: bytes) -> list[bytes]:
    """Cut at commas outside quoted strings (RFC 9110 section 5.6.4), at all commas where a quote is not closed."""
    if b'"' in value and _CLOSED_QUOTES.fullmatch(value):
        return _PIECE.findall(value)
    return value.split(b",")


def _is_l402_macaroon(text: bytes) -> bool:
    """Tell by the first bytes: V2, an optional location, an identifier of 66 bytes and version 0 (L402 L50)."""
    return any(_starts_as_l402(data) for data in _decodings(text))


def _decodings(text: bytes) -> list[bytes]:
    found = []
    with suppress(ValueError):
        found.append(bytes.fromhex(text.decode("ascii")))
    standard = text.rstrip(b"=").translate(_STANDARD_BASE64)
    with suppress(binascii.Error):
        found.append(base64.b64decode(standard + b"=" * (-len(standard) % 4)))
    return found


def _starts_as_l402(data: bytes) -> bool:
    if data[:1] != bytes([_V2]):
        return False
    position = 1
    if data[1:2] == bytes([_LOCATION]):
        length, position = _varint(data, 2)
        position += length
    if data[position : position + 1] != bytes([_IDENTIFIER]):
        return False
    length, position = _varint(data, position + 1)
    return length == IDENTIFIER_BYTES and data[position : position + 2] == _L402_VERSION


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Read a little-endian base 128 number; return it and the position after it."""
    number = shift = 0
    while position < len(data) and shift < _MAX_VARINT_BITS:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return number, position
