"""Prices as people write them."""

from __future__ import annotations

import re

from gateway.l402.amounts import Msat, format_amount, parse_amount

FREE = "free"
_OTHER_UNIT = re.compile(r"[0-9]+ ?(?!(?:m?sat)$)[A-Za-z€$£¥₿]+")


def parse_price(text: str) -> Msat:
    """Read ``10 sat``, ``1500 msat``, ``free`` or ``0``; the result 0 means free.

    A price is free only where that is written out: no other spelling gives 0. Raises ``ValueError`` with what is
    wrong, never repeating ``text``.
    """
    if text in {FREE, "0"}:
        return Msat(0)
    if text.isascii() and text.isdigit():
        raise ValueError("a number without its unit")
    if _OTHER_UNIT.fullmatch(text):
        raise ValueError("a unit other than sat or msat")
    try:
        amount = parse_amount(text)
    except ValueError:
        raise ValueError("not a whole amount, or more than all bitcoin") from None
    if amount == 0:
        raise ValueError("an amount of nothing")
    return amount


def format_price(msat: Msat) -> str:
    """Write a price so that ``parse_price`` reads it back."""
    return FREE if msat == 0 else format_amount(msat)
