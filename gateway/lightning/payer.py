"""The seam to a wallet that pays invoices (the buyer's side)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from gateway.l402.amounts import Msat


@dataclass(frozen=True, slots=True)
class Payment:
    """A settled payment: its preimage (32 bytes) and the routing fee on top of the amount."""

    preimage: bytes = field(repr=False)
    fee_msat: Msat


class Payer(Protocol):
    """A wallet. Raises ``PaymentFailed`` (final: nothing was paid) or a Node error (unknown: may have been paid)."""

    async def pay(self, bolt11: str, *, max_fee_msat: Msat, timeout_s: float) -> Payment:
        """Pay an invoice that the caller has checked; paying the same invoice twice returns the same preimage."""

    async def aclose(self) -> None:
        """Release everything; idempotent."""
