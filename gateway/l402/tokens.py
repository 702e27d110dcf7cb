"""Text forms of a token: base64 in HTTP headers, hex in gRPC metadata (L402 L15, L56)."""

from __future__ import annotations

import binascii

from gateway.errors import CredentialError, Fault
from gateway.l402.macaroon import MAX_MACAROON_BYTES

MAX_TOKEN_CHARS = 2 * MAX_MACAROON_BYTES
"""The longest text read: a macaroon in hex."""


def encode_token(raw: bytes) -> str:
    """Base64 in the standard alphabet with padding: the one form that every client reads (L402 L15)."""
    return binascii.b2a_base64(raw, newline=False).decode()


def decode_token(text: str) -> bytes:
    """Read base64 in the standard or the URL-safe alphabet, padded or not: libraries re-serialise tokens so.

    Mixed alphabets, foreign characters, wrong padding and spare bits raise ``CredentialError`` (malformed):
    encoding the result must give the text back.
    """
    if len(text) > MAX_TOKEN_CHARS:
        raise _malformed()
    standard = text
    if "-" in text or "_" in text:
        if "+" in text or "/" in text:
            raise _malformed()
        standard = text.replace("-", "+").replace("_", "/")
    if not text.endswith("="):
        standard += "=" * (-len(text) % 4)
    try:
        raw = binascii.a2b_base64(standard)
    except ValueError:
        raise _malformed() from None
    # The decoder skips characters that it does not know and ignores spare bits: only the way back shows them.
    if not raw or encode_token(raw) != standard:
        raise _malformed()
    return raw


def decode_token_hex(text: str) -> bytes:
    """Read hex of either case, without any separators. Raises ``CredentialError`` (malformed)."""
    if not text or len(text) > MAX_TOKEN_CHARS:
        raise _malformed()
    try:
        return binascii.unhexlify(text)
    except ValueError:
        raise _malformed() from None


def _malformed() -> CredentialError:
    return CredentialError(Fault.MALFORMED, "the token's text is neither base64 nor hex of a token")
