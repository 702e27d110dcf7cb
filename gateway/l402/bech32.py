"""Bech32 as BOLT 11 uses it: BIP-173's alphabet and checksum, without its limit of 90 characters.

::

    text  = hrp "1" data checksum          hrp: 1 or more of %x21-7E; the last "1" separates
    data  = *word                          one word = 5 bits = one character of the alphabet
    checksum = 6word                       BCH code over GF(32): any one wrong character is always found

The words stay characters here: a slice of the text is a slice of the data.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from gateway.errors import InvoiceError

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
"""The 32 words in the order of their values."""

CHECKSUM_WORDS = 6

_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_DIGITS = "0123456789abcdefghijklmnopqrstuv"
_TO_DIGITS = str.maketrans(ALPHABET, _DIGITS)
_TO_VALUES = bytes.maketrans(ALPHABET.encode(), bytes(range(32)))
_FROM_BASE32 = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", ALPHABET.encode())
"""RFC 4648 section 6 cuts bytes into the same 5-bit groups, under other names."""
_ALPHABET_BYTES = ALPHABET.encode()


def _feedback(top: int) -> int:
    """What the five bits shifted out of the checksum contribute to it."""
    result = 0
    for bit, term in enumerate(_GENERATOR):
        if top >> bit & 1:
            result ^= term
    return result


_FEEDBACK = tuple(_feedback(top) for top in range(32))


def _polymod(values: Iterable[int], checksum: int = 1) -> int:
    for value in values:
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value ^ _FEEDBACK[checksum >> 25]
    return checksum


def _expanded(hrp: str) -> bytes:
    characters = hrp.encode("ascii")
    return bytes(c >> 5 for c in characters) + b"\0" + bytes(c & 31 for c in characters)


def encode(hrp: str, words: str) -> str:
    """Join a lower-case ``hrp`` and ``words`` with their checksum."""
    remainder = _polymod(words.encode().translate(_TO_VALUES), _polymod(_expanded(hrp)))
    remainder = _polymod(bytes(CHECKSUM_WORDS), remainder) ^ 1
    return f"{hrp}1{words}{from_number(remainder, CHECKSUM_WORDS)}"


def decode(text: str, max_length: int) -> tuple[str, str]:
    """Split ``text`` into its human-readable part and its words, both lower case, the checksum verified and removed.

    Raises ``InvoiceError``.
    """
    if len(text) > max_length:
        raise InvoiceError(f"longer than {max_length} characters")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise InvoiceError("holds characters that bech32 does not have")
    if text not in (text.lower(), text.upper()):
        raise InvoiceError("upper and lower case are mixed")
    hrp, separator, data = text.lower().rpartition("1")
    if not separator or not hrp or len(data) < CHECKSUM_WORDS:
        raise InvoiceError("not bech32: no prefix, or too short")
    raw = data.encode()
    if raw.translate(None, delete=_ALPHABET_BYTES):
        raise InvoiceError("holds characters that bech32 does not have")
    if _polymod(raw.translate(_TO_VALUES), _polymod(_expanded(hrp))) != 1:
        raise InvoiceError("the checksum does not match")
    return hrp, data[:-CHECKSUM_WORDS]


def number(words: str) -> int:
    """The words as one big-endian number; no words are 0."""
    return int(words.translate(_TO_DIGITS), 32) if words else 0


def from_number(value: int, length: int) -> str:
    """Write ``value`` as exactly ``length`` words; ``ValueError`` if it does not fit."""
    if value < 0 or value >> 5 * length:
        raise ValueError(f"{value} does not fit in {length} words")
    return "".join(ALPHABET[value >> 5 * place & 31] for place in range(length - 1, -1, -1))


def to_bytes(words: str) -> bytes:
    """The whole bytes in ``words``; the bits left over must be zero and fewer than one word.

    Raises ``InvoiceError``.
    """
    size, padding = divmod(5 * len(words), 8)
    value = number(words)
    if padding >= 5 or value & ((1 << padding) - 1):
        raise InvoiceError("a field's padding is not empty")
    return (value >> padding).to_bytes(size, "big")


def from_bytes(raw: bytes) -> str:
    """Write bytes as words, the last one filled up with zero bits."""
    return base64.b32encode(raw).rstrip(b"=").translate(_FROM_BASE32).decode()
