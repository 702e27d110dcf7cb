"""What the paywall says about a request: small frozen values, never a bool."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import Fault
from gateway.l402.amounts import Msat


@dataclass(frozen=True, slots=True)
class Admit:
    """Let it through. ``token_key`` is sha256(identifier) of the token that paid, None where nothing was asked.

    ``token_id`` is the public id inside the identifier (L402 L51); ``price_msat`` is what was paid for the token;
    ``valid_until`` (Unix seconds) ends the pass, None = no end.
    """

    token_key: bytes | None = None
    token_id: bytes | None = None
    price_msat: Msat = Msat(0)
    valid_until: int | None = None


@dataclass(frozen=True, slots=True)
class Challenge:
    """Ask for payment: 402 with a fresh challenge. ``fault`` says why what was presented buys nothing."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Refuse:
    """Paying would not help: the request itself is wrong. ``code`` is a stable error code."""

    code: str


Decision = Admit | Challenge | Refuse
ADMIT_FREE = Admit()
"""Nobody asked for anything."""
