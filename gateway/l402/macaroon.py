"""Macaroons, version 2 binary, first-party caveats only (L402 L55 to L57).

::

    macaroon   = %x02 [location] identifier EOS *caveat EOS signature
    location   = %x01 length *OCTET        ; UTF-8, not signed, never trusted
    identifier = %x02 length 1*OCTET
    caveat     = %x02 length 1*OCTET EOS   ; a %x04 field (third party) or a location in a caveat is refused
    signature  = %x06 %x20 32OCTET
    length     = canonical unsigned varint
    EOS        = %x00

One macaroon has exactly one spelling: what decodes encodes to the same bytes. The layout and the chain are those of
the deployed macaroon libraries, which differ from the L402 text (docs/conformance.md, errata).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.errors import CredentialError, Fault
from gateway.l402.caveats import MAX_CAVEAT_BYTES

MAX_MACAROON_BYTES = 6_144
"""As base64 it just fits the 8 KiB that a header line may have."""
MAX_CAVEATS = 64
MAX_FIELD_BYTES = MAX_CAVEAT_BYTES
SIGNATURE_BYTES = 32

_VERSION, _EOS, _LOCATION, _IDENTIFIER, _SIGNATURE = 2, 0, 1, 2, 6
_KEY_GENERATOR = b"macaroons-key-generator"
_TAIL = bytes((_EOS, _SIGNATURE, SIGNATURE_BYTES))


@dataclass(frozen=True, slots=True)
class Macaroon:
    """A decoded macaroon; nothing in it is verified yet. The repr shows only its (untrusted) location."""

    location: str
    identifier: bytes = field(repr=False)
    caveats: tuple[bytes, ...] = field(repr=False)
    signature: bytes = field(repr=False)

    def encode(self) -> bytes:
        """The binary form. Raises ``ValueError`` for a macaroon that ``decode_macaroon`` would refuse."""
        location = self.location.encode()
        parts = [bytes((_VERSION,))]
        if location:
            parts.append(_packet(_LOCATION, location))
        parts += [_packet(_IDENTIFIER, self.identifier), bytes((_EOS,))]
        for caveat in self.caveats:
            parts += [_packet(_IDENTIFIER, caveat), bytes((_EOS,))]
        parts += [_TAIL, self.signature]
        raw = b"".join(parts)
        if len(self.caveats) > MAX_CAVEATS or len(self.signature) != SIGNATURE_BYTES or len(raw) > MAX_MACAROON_BYTES:
            raise ValueError("too many caveats, too long, or no 32-byte signature")
        return raw


def sign(root_key: bytes, identifier: bytes, caveats: Iterable[bytes]) -> bytes:
    """The signature chain: HMAC-SHA256 over identifier, then over each caveat with the last digest as key (L402 L55).

    Its first key is not the root key but HMAC(``macaroons-key-generator``, root key), as in every deployed library.
    """
    digest = hmac.digest
    signature = digest(digest(_KEY_GENERATOR, root_key, "sha256"), identifier, "sha256")
    for caveat in caveats:
        signature = digest(signature, caveat, "sha256")
    return signature


def has_signature_of(macaroon: Macaroon, root_key: bytes) -> bool:
    """Whether identifier and all caveats were signed from this root key; constant-time (L402 L45)."""
    return hmac.compare_digest(sign(root_key, macaroon.identifier, macaroon.caveats), macaroon.signature)


def decode_macaroon(raw: bytes) -> Macaroon:
    """Read a macaroon in time linear in its length. Raises ``CredentialError`` (malformed) for anything unusual.

    The identifier is any 1 to 512 bytes here; ``Identifier.decode`` is the one that asks for L402's 66.
    """
    if len(raw) > MAX_MACAROON_BYTES:
        raise _malformed("longer than any macaroon of ours")
    try:
        return _decode(raw)
    except IndexError:
        raise _malformed("cut short") from None


def _decode(raw: bytes) -> Macaroon:
    if raw[0] != _VERSION:
        raise _malformed("not version 2 binary")
    location, at = "", 1
    if raw[at] == _LOCATION:
        location, at = _read_location(raw, at)
    identifier, at = _read_identifier(raw, at)
    caveats: list[bytes] = []
    while raw[at] != _EOS:
        if len(caveats) == MAX_CAVEATS:
            raise _malformed("too many caveats")
        caveat, at = _read_identifier(raw, at)
        caveats.append(caveat)
    signed_at = at + len(_TAIL)
    if raw[at:signed_at] != _TAIL or len(raw) != signed_at + SIGNATURE_BYTES:
        raise _malformed("no 32-byte signature at the end")
    return Macaroon(location, identifier, tuple(caveats), raw[signed_at:])


def _read_location(raw: bytes, at: int) -> tuple[str, int]:
    data, at = _read_field(raw, at, _LOCATION)
    try:
        return data.decode(), at
    except UnicodeDecodeError:
        raise _malformed("location is not UTF-8") from None


def _read_identifier(raw: bytes, at: int) -> tuple[bytes, int]:
    """An identifier field and the EOS that must follow it at once: a third-party caveat has a field between them."""
    data, at = _read_field(raw, at, _IDENTIFIER)
    if raw[at] != _EOS:
        raise _malformed("unexpected field, or a third-party caveat")
    return data, at + 1


def _read_field(raw: bytes, at: int, kind: int) -> tuple[bytes, int]:
    if raw[at] != kind:
        raise _malformed("fields missing or out of order")
    length, start = raw[at + 1], at + 2
    if length > 0x7F:
        high = raw[start]
        if not 0 < high <= 0x7F:
            raise _malformed("length is not a canonical varint of at most two bytes")
        length, start = length & 0x7F | high << 7, start + 1
    if not 0 < length <= MAX_FIELD_BYTES:
        raise _malformed("field empty or too long")
    # A slice past the end is short, and the caller's next byte raises IndexError.
    return raw[start : start + length], start + length


def _packet(kind: int, data: bytes) -> bytes:
    length = len(data)
    if not 0 < length <= MAX_FIELD_BYTES:
        raise ValueError(f"a macaroon's fields are 1 to {MAX_FIELD_BYTES} bytes long")
    if length <= 0x7F:
        return bytes((kind, length)) + data
    return bytes((kind, length & 0x7F | 0x80, length >> 7)) + data


def _malformed(reason: str) -> CredentialError:
    return CredentialError(Fault.MALFORMED, f"macaroon: {reason}")
