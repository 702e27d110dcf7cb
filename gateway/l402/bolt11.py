"""BOLT 11: reading a Lightning invoice. Pure; the signature is not looked at (``gateway.lightning.bolt11_signing`` is).

::

    invoice   = bech32(hrp, timestamp *field signature)
    hrp       = "ln" ("bc" / "tb" / "tbs" / "bcrt") [amount]
    amount    = nonzero-digit *digit ["m" / "u" / "n" / "p"]       bitcoin; "p" must be a multiple of 10
    timestamp = 7word                                              Unix seconds, 35 bits
    field     = type:1word length:2word data                       data: length words
    signature = 104word                                            r, s and the recovery id

Fields read: ``p`` payment hash, ``d`` description, ``h`` its SHA-256, ``x`` expiry, ``s`` payment secret, ``n`` payee,
``c`` final CLTV delta. Of several of one kind the first counts; unknown ones, and those whose length is not the one
BOLT 11 gives them, are skipped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import InvoiceError
from gateway.l402 import bech32
from gateway.l402.amounts import MAX_MSAT, Msat

MAX_LENGTH = 7089
"""The longest invoice that lnd reads: what fits into one QR code."""

DEFAULT_EXPIRY_S = 3600
DEFAULT_FINAL_CLTV = 18

TIMESTAMP_WORDS = 7
SIGNATURE_WORDS = 104

PREFIXES = {"mainnet": "lnbc", "testnet": "lntb", "signet": "lntbs", "regtest": "lnbcrt"}

MULTIPLIERS = (("", 10**11), ("m", 10**8), ("u", 10**5), ("n", 10**2))
"""Multiplier letters and the millisatoshi they stand for, largest first; ``p`` is a tenth of a millisatoshi."""

_NETWORKS = {prefix: network for network, prefix in PREFIXES.items()}
_HRP = re.compile(r"(lnbcrt|lntbs|lnbc|lntb)(?:([1-9][0-9]{0,18})([munp]?))?", re.ASCII)
_FIXED_LENGTHS = {"p": 52, "h": 52, "s": 52, "n": 53}
_MAX_NUMBER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Invoice:
    """What an invoice says. ``timestamp`` is Unix seconds, ``expiry_s`` counts from it.

    ``amount_msat`` is None where the payer chooses; hashes and ``payment_secret`` are 32 bytes, ``payee`` is the
    33-byte public key of field ``n`` (None: it must be recovered from the signature).
    """

    network: str
    amount_msat: Msat | None
    payment_hash: bytes
    timestamp: int
    expiry_s: int
    description: str | None
    description_hash: bytes | None
    payment_secret: bytes | None
    payee: bytes | None
    min_final_cltv: int

    @property
    def expires_at(self) -> int:
        """Unix seconds from which on the payee refuses payment."""
        return self.timestamp + self.expiry_s


def decode(text: str) -> Invoice:
    """Read an invoice, all lower or all upper case, without a ``lightning:`` in front.

    Raises ``InvoiceError``, whose message says what is wrong and never repeats the invoice.
    """
    hrp, words = bech32.decode(text, MAX_LENGTH)
    network, amount = _read_hrp(hrp)
    if len(words) < TIMESTAMP_WORDS + SIGNATURE_WORDS:
        raise InvoiceError("too short to hold a timestamp and a signature")
    fields = _split_fields(words[TIMESTAMP_WORDS:-SIGNATURE_WORDS])
    if "p" not in fields:
        raise InvoiceError("has no payment hash")
    return Invoice(
        network=network,
        amount_msat=amount,
        payment_hash=bech32.to_bytes(fields["p"]),
        timestamp=bech32.number(words[:TIMESTAMP_WORDS]),
        expiry_s=_read_number(fields, "x", DEFAULT_EXPIRY_S),
        description=_read_description(fields),
        description_hash=_read_bytes(fields, "h"),
        payment_secret=_read_bytes(fields, "s"),
        payee=_read_bytes(fields, "n"),
        min_final_cltv=_read_number(fields, "c", DEFAULT_FINAL_CLTV),
    )


def _read_hrp(hrp: str) -> tuple[str, Msat | None]:
    match = _HRP.fullmatch(hrp)
    if match is None:
        raise InvoiceError("the prefix is not a known network with a well-formed amount")
    prefix, digits, multiplier = match.groups()
    if digits is None:
        return _NETWORKS[prefix], None
    if multiplier == "p":
        amount, rest = divmod(int(digits), 10)
        if rest:
            raise InvoiceError("the amount is not a whole number of millisatoshi")
    else:
        amount = int(digits) * dict(MULTIPLIERS)[multiplier]
    if amount > MAX_MSAT:
        raise InvoiceError("the amount is more than all bitcoin")
    return _NETWORKS[prefix], Msat(amount)


def _split_fields(words: str) -> dict[str, str]:
    """The first usable field of each type."""
    fields: dict[str, str] = {}
    start = 0
    while start < len(words):
        kind, length_words = words[start], words[start + 1 : start + 3]
        end = start + 3 + bech32.number(length_words)
        if len(length_words) < 2 or end > len(words):
            raise InvoiceError("a field is cut short")
        data = words[start + 3 : end]
        if len(data) == _FIXED_LENGTHS.get(kind, len(data)):
            fields.setdefault(kind, data)
        start = end
    return fields


def _read_bytes(fields: dict[str, str], kind: str) -> bytes | None:
    return bech32.to_bytes(fields[kind]) if kind in fields else None


def _read_number(fields: dict[str, str], kind: str, default: int) -> int:
    value = bech32.number(fields[kind]) if kind in fields else default
    if value > _MAX_NUMBER:
        raise InvoiceError("a number is out of range")
    return value


def _read_description(fields: dict[str, str]) -> str | None:
    raw = _read_bytes(fields, "d")
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        raise InvoiceError("the description is not UTF-8") from None
