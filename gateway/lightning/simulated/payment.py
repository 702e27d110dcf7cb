"""What comes of paying an invoice of the simulated node."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.l402.amounts import Msat


class Refusal(StrEnum):
    """Why a payer gets no preimage; the value is the endpoint's stable code."""

    NOT_AN_INVOICE = "not_an_invoice"
    UNKNOWN_INVOICE = "unknown_invoice"
    """Another node's, or not what this node wrote under that payment hash."""
    EXPIRED = "invoice_expired"
    WITHHELD = "preimage_withheld"
    """Paid and settled all the same (``Faults.withhold_preimage``)."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A paid invoice: the payer holds the preimage (32 bytes) of ``payment_hash``."""

    payment_hash: bytes
    amount_msat: Msat
    preimage: bytes = field(repr=False)
