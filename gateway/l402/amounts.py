"""Amounts of money: integer millisatoshi everywhere (1 sat = 1,000 msat)."""

from __future__ import annotations

import re
from typing import NewType

Msat = NewType("Msat", int)
"""An amount in millisatoshi; never negative, never a float."""

MAX_MSAT = 21_000_000 * 100_000_000 * 1_000
"""All the bitcoin there will be, in millisatoshi: nothing may cost more."""

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,18}) ?(msat|sat)", re.ASCII)


def parse_amount(text: str) -> Msat:
    """Read ``10 sat`` or ``1500 msat`` (one optional space, no fractions).

    Raises ``ValueError`` saying what is expected.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError("expected a whole amount with its unit, such as '10 sat' or '1500 msat'")
    msat = int(match[1]) * (1_000 if match[2] == "sat" else 1)
    if msat > MAX_MSAT:
        raise ValueError("more than all bitcoin there will ever be")
    return Msat(msat)


def format_amount(msat: Msat) -> str:
    """Write an amount so that ``parse_amount`` reads it back: whole satoshis as ``10 sat``, else ``1500 msat``."""
    return f"{msat // 1_000} sat" if msat % 1_000 == 0 else f"{msat} msat"
