"""Challenges to store: each one different, none of them secret."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from typing import Any

from gateway.l402.amounts import Msat
from gateway.storage.store import StoredInvoice, StoredToken

NOW = 1_760_000_000
_numbers = itertools.count()


def digest(*words: object) -> bytes:
    return hashlib.sha256(repr(words).encode()).digest()


def challenge(number: int | None = None, **of_invoice: Any) -> tuple[StoredToken, StoredInvoice]:
    """The challenge with this number (the next free one by default); keywords replace fields of the invoice."""
    number = next(_numbers) + 1_000_000 if number is None else number
    payment_hash = digest("hash", number)
    identifier = b"\x00\x00" + payment_hash + digest("id", number)
    invoice = StoredInvoice(
        payment_hash=payment_hash,
        bolt11=f"lnbcrt10n1{number}" + "q" * 280,
        amount_msat=Msat(10_000),
        backend="lnd",
        created_at=NOW,
        expires_at=NOW + 600,
    )
    token = StoredToken(
        key=hashlib.sha256(identifier).digest(),
        identifier=identifier,
        payment_hash=payment_hash,
        root_key=digest("root", number),
        service="weather",
        tier=0,
        route="weather/0",
        price_msat=Msat(10_000),
        caveats=("services=weather:0", 'weather_note="é, quoted"', "weather_valid_until=1760004200"),
        valid_for_s=3_600,
        valid_until=NOW + 4_200,
        issued_at=NOW,
    )
    return token, replace(invoice, **of_invoice)
