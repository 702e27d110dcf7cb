"""The macaroon identifier, version 0 (L402 L50).

::

    identifier   = version payment-hash token-id     ; 66 bytes
    version      = %x00 %x00                         ; 16-bit, big-endian
    payment-hash = 32OCTET                           ; of the invoice that pays for the token
    token-id     = 32OCTET                           ; random
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from gateway.errors import CredentialError, Fault

IDENTIFIER_BYTES = 66
_VERSION_0 = b"\x00\x00"
_HASH_BYTES = 32


class Identifier(NamedTuple):
    """What a token is bound to. Both fields are 32 bytes (``ValueError`` from ``encode`` otherwise)."""

    payment_hash: bytes
    token_id: bytes

    def encode(self) -> bytes:
        """The 66 bytes that the macaroon's signature starts from."""
        if len(self.payment_hash) != _HASH_BYTES or len(self.token_id) != _HASH_BYTES:
            raise ValueError("payment hash and token id are 32 bytes each")
        return _VERSION_0 + self.payment_hash + self.token_id

    @classmethod
    def decode(cls, raw: bytes) -> Identifier:
        """Read 66 bytes of version 0; anything else raises ``CredentialError`` (malformed; L402 L50, L52)."""
        if len(raw) != IDENTIFIER_BYTES:
            raise CredentialError(Fault.MALFORMED, "the identifier is not 66 bytes long")
        if not raw.startswith(_VERSION_0):
            raise CredentialError(Fault.MALFORMED, "unknown identifier version")
        return cls(raw[2:34], raw[34:])


def token_key(identifier: bytes) -> bytes:
    """Where the root key of a token is kept: sha256 of its identifier, 32 bytes (L402 L45, L54).

    Revocation and counting go by this key, never by the token's text, which has several spellings.
    """
    return hashlib.sha256(identifier).digest()
