"""BOLT 11: writing and signing an invoice, and finding out who signed one. The only file that knows coincurve."""

from __future__ import annotations

from dataclasses import dataclass

from coincurve import PrivateKey, PublicKey

from gateway.errors import InvoiceError
from gateway.l402 import bech32, bolt11
from gateway.l402.amounts import Msat

_FEATURES = 1 << 8 | 1 << 14 | 1 << 17
"""BOLT 9: onions are TLV and the payment secret is required (both even), multi-part payments are understood (odd)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An invoice before it is signed. Hashes and ``payment_secret`` are 32 bytes; ``timestamp`` is Unix seconds."""

    network: str
    amount_msat: Msat | None
    payment_hash: bytes
    payment_secret: bytes
    description: str
    timestamp: int
    expiry_s: int
    min_final_cltv: int = bolt11.DEFAULT_FINAL_CLTV


class NodeKey:
    """A node's secp256k1 key: signs invoices. Its ``repr`` shows nothing."""

    def __init__(self, secret: bytes) -> None:
        """``secret`` is 32 bytes, a number from 1 to the group's order - 1 (``ValueError`` otherwise)."""
        self._key = PrivateKey(secret)

    @property
    def node_id(self) -> bytes:
        """The compressed public key, 33 bytes: what the network calls the node."""
        return self._key.public_key.format()

    def sign(self, draft: Draft) -> str:
        """The invoice as lower-case text. Raises ``ValueError`` where BOLT 11 has no room for a value."""
        hrp = bolt11.PREFIXES[draft.network] + _write_amount(draft.amount_msat)
        words = bech32.from_number(draft.timestamp, bolt11.TIMESTAMP_WORDS) + _write_fields(draft)
        signature = self._key.sign_recoverable(_signed_bytes(hrp, words))
        return bech32.encode(hrp, words + bech32.from_bytes(signature))


def recover_payee(text: str) -> bytes:
    """The compressed public key (33 bytes) that signed the invoice ``text``.

    Raises ``InvoiceError`` when the signature is void or is not that of the payee whom field ``n`` names.
    """
    invoice = bolt11.decode(text)
    hrp, words = bech32.decode(text, bolt11.MAX_LENGTH)
    signature = bech32.to_bytes(words[-bolt11.SIGNATURE_WORDS :])
    signed = _signed_bytes(hrp, words[: -bolt11.SIGNATURE_WORDS])
    try:
        payee = PublicKey.from_signature_and_message(signature, signed).format()
    except ValueError:
        raise InvoiceError("the signature is void") from None
    if invoice.payee not in (None, payee):
        raise InvoiceError("the signature is not the payee's")
    return payee


def _signed_bytes(hrp: str, words: str) -> bytes:
    """What is hashed and signed: the prefix, then the words filled up with zero bits to whole bytes."""
    size = -(-5 * len(words) // 8)
    return hrp.encode() + (bech32.number(words) << 8 * size - 5 * len(words)).to_bytes(size, "big")


def _write_amount(amount: Msat | None) -> str:
    if amount is None:
        return ""
    if amount <= 0:
        raise ValueError("an amount must be positive")
    for letter, unit in bolt11.MULTIPLIERS:
        if amount % unit == 0:
            return f"{amount // unit}{letter}"
    return f"{amount * 10}p"


def _write_fields(draft: Draft) -> str:
    return "".join(
        (
            _field("p", bech32.from_bytes(draft.payment_hash)),
            _field("s", bech32.from_bytes(draft.payment_secret)),
            _field("d", bech32.from_bytes(draft.description.encode())),
            _field("x", _shortest(draft.expiry_s)),
            _field("c", _shortest(draft.min_final_cltv)),
            _field("9", _shortest(_FEATURES)),
        )
    )


def _shortest(value: int) -> str:
    return bech32.from_number(value, -(-value.bit_length() // 5))


def _field(kind: str, words: str) -> str:
    return kind + bech32.from_number(len(words), 2) + words
