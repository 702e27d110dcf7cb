"""Where a payment stands: a credential proves nothing until its invoice is settled (L402 L42, L43)."""

from __future__ import annotations

from enum import StrEnum


class InvoiceState(StrEnum):
    """Where an invoice stands, in every backend's words."""

    OPEN = "open"
    ACCEPTED = "accepted"
    """The payment is locked in but not final (a hold invoice): not money yet."""
    SETTLED = "settled"
    CANCELED = "canceled"
    """Expired or cancelled: can never be paid any more."""
