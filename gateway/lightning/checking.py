"""What a node returns is not trusted until it was read: a wrong invoice is an outage of ours and is never sent out."""

from __future__ import annotations

from gateway.errors import InvoiceError, InvoiceMismatch
from gateway.l402 import bolt11
from gateway.lightning.backend import IssuedInvoice, NewInvoice

MAX_MEMO_BYTES = 639
"""The longest description that BOLT 11's ten-bit field length has room for, in bytes of UTF-8."""

CLOCK_TOLERANCE_S = 60
"""How far the node's clock may be from ours."""


def fit_memo(text: str) -> str:
    """``text`` cut to 639 bytes of UTF-8, never inside a character; what UTF-8 cannot express becomes ``?``."""
    return text.encode(errors="replace")[:MAX_MEMO_BYTES].decode(errors="ignore")


def check_invoice(issued: IssuedInvoice, wanted: NewInvoice, *, network: str, now: int) -> bolt11.Invoice:
    """Read the node's invoice and compare it with what was asked for; ``now`` is Unix seconds.

    Raises ``InvoiceMismatch`` naming what differs: for our log, not for clients.
    """
    try:
        invoice = bolt11.decode(issued.bolt11)
    except InvoiceError as error:
        raise InvoiceMismatch(f"the node's invoice cannot be read: {error}") from None
    differing = _difference(invoice, issued, wanted, network, now)
    if differing is not None:
        raise InvoiceMismatch(f"the node's invoice is not the one asked for: {differing}")
    return invoice


def _difference(
    invoice: bolt11.Invoice, issued: IssuedInvoice, wanted: NewInvoice, network: str, now: int
) -> str | None:
    if invoice.network != network:
        return f"network {invoice.network} instead of {network}"
    if invoice.payment_hash != issued.payment_hash:
        return "another payment hash than the node named"
    if invoice.amount_msat != wanted.amount_msat:
        amount = "no amount" if invoice.amount_msat is None else f"{invoice.amount_msat} msat"
        return f"{amount} instead of {wanted.amount_msat} msat"
    if invoice.expires_at <= now:
        return f"expired {now - invoice.expires_at} s ago"
    if abs(invoice.expires_at - now - wanted.expiry_s) > CLOCK_TOLERANCE_S:
        return f"expires in {invoice.expires_at - now} s instead of {wanted.expiry_s} s (or the clocks differ)"
    return None
