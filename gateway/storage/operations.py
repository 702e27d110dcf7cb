"""What the store does, each as one function over a SQLAlchemy connection inside a transaction.

They are synchronous so that the same code runs in SQLite's writer thread and, through ``AsyncConnection.run_sync``,
on an asynchronous driver. Each one either happens as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Connection, Row, bindparam, insert, select, text, update

from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.storage.faults import RowRefused
from gateway.storage.schema import PENDING, backends, invoices, revocations, tokens
from gateway.storage.store import Revocation, StoredInvoice, StoredToken, TokenRecord

T = TypeVar("T")
Operation = Callable[[Connection], T]
"""What a database runs: one of the functions below, its arguments bound."""

TOKEN_FIELDS = tuple(field.name for field in fields(StoredToken))
INVOICE_FIELDS = tuple(field.name for field in fields(StoredInvoice))

_INSERT_INVOICE = insert(invoices)
_INSERT_TOKEN = insert(tokens)
_TOKEN_COLUMNS = [tokens.c[name] for name in TOKEN_FIELDS]
_INVOICE_COLUMNS = [invoices.c[name] for name in INVOICE_FIELDS]
_FIND_TOKEN = (
    select(*_TOKEN_COLUMNS, *_INVOICE_COLUMNS)
    .select_from(tokens.join(invoices, tokens.c.payment_hash == invoices.c.payment_hash))
    .where(tokens.c.key == bindparam("wanted"))
)
_FIND_INVOICE = select(*_INVOICE_COLUMNS).where(invoices.c.payment_hash == bindparam("wanted"))
_PENDING = (
    select(*_INVOICE_COLUMNS)
    .where(text(PENDING), invoices.c.backend == bindparam("of_backend"), invoices.c.payment_hash > bindparam("above"))
    .order_by(invoices.c.payment_hash)
    .limit(bindparam("at_most", type_=BigInteger))
)
_REVOCATIONS = (
    select(revocations.c.cursor, revocations.c.key)
    .where(revocations.c.cursor > bindparam("since"))
    .order_by(revocations.c.cursor)
    .limit(bindparam("at_most", type_=BigInteger))
)
_SETTLE_INDEX = select(backends.c.settle_index).where(backends.c.name == bindparam("wanted"))
# ON CONFLICT is spelled the same by SQLite and PostgreSQL; SQLAlchemy has it only per dialect.
_RAISE_INDEX = text(
    "INSERT INTO backends (name, settle_index, updated_at) VALUES (:name, :settle_index, :now) "
    "ON CONFLICT (name) DO UPDATE SET settle_index = excluded.settle_index, updated_at = excluded.updated_at "
    "WHERE backends.settle_index < excluded.settle_index"
).bindparams(bindparam("settle_index", type_=BigInteger), bindparam("now", type_=BigInteger))
_SETTLE = (
    update(invoices)
    .where(
        invoices.c.payment_hash == bindparam("wanted"),
        invoices.c.backend == bindparam("of_backend"),
        text("state <> 'settled'"),
    )
    .values(state=InvoiceState.SETTLED)
)
_CANCEL = (
    update(invoices)
    .where(invoices.c.payment_hash == bindparam("wanted"), text(PENDING))
    .values(state=InvoiceState.CANCELED)
)
_FORGET_ROOT_KEY = (
    update(tokens)
    .where(tokens.c.key == bindparam("wanted"), tokens.c.revoked_at.is_(None))
    .values(root_key=None, revoked_at=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a node says about one payment; ``recorded_at`` is our own clock."""

    paid_msat: Msat
    settled_at: int
    settle_index: int
    recorded_at: int


def insert_challenge(connection: Connection, token: StoredToken, invoice: StoredInvoice) -> None:
    """Both rows; neither may be there already, and the invoice must be the token's own. Raises ``RowRefused``."""
    if token.payment_hash != invoice.payment_hash:
        raise RowRefused("the token's invoice is another one")
    connection.execute(_INSERT_INVOICE, {name: getattr(invoice, name) for name in INVOICE_FIELDS})
    connection.execute(_INSERT_TOKEN, {name: getattr(token, name) for name in TOKEN_FIELDS})


def find_token(connection: Connection, key: bytes) -> TokenRecord | None:
    """One query for both rows."""
    row = connection.execute(_FIND_TOKEN, {"wanted": key}).one_or_none()
    if row is None:
        return None
    split = len(TOKEN_FIELDS)
    return TokenRecord(
        StoredToken(**dict(zip(TOKEN_FIELDS, row[:split], strict=True))),
        StoredInvoice(**dict(zip(INVOICE_FIELDS, row[split:], strict=True))),
    )


def find_invoice(connection: Connection, payment_hash: bytes) -> StoredInvoice | None:
    """By primary key."""
    row = connection.execute(_FIND_INVOICE, {"wanted": payment_hash}).one_or_none()
    return None if row is None else _invoice(row)


def record_settlement(connection: Connection, backend: str, payment_hash: bytes, settlement: Settlement) -> bool:
    """The settlement and the index that announced it; the node's word also overrules an earlier cancellation."""
    settled = connection.execute(
        _SETTLE,
        {
            "wanted": payment_hash,
            "of_backend": backend,
            "paid_msat": settlement.paid_msat,
            "settled_at": settlement.settled_at,
            "settle_index": settlement.settle_index,
        },
    )
    raised = {"name": backend, "settle_index": settlement.settle_index, "now": settlement.recorded_at}
    connection.execute(_RAISE_INDEX, raised)
    return settled.rowcount == 1


def record_cancellation(connection: Connection, payment_hash: bytes) -> None:
    """Only what is still pending."""
    connection.execute(_CANCEL, {"wanted": payment_hash})


def settle_index(connection: Connection, backend: str) -> int:
    """0 for a backend that never settled anything."""
    return connection.execute(_SETTLE_INDEX, {"wanted": backend}).scalar_one_or_none() or 0


def pending_invoices(connection: Connection, backend: str, after: bytes, limit: int) -> Sequence[StoredInvoice]:
    """By the partial index, so that settled invoices cost nothing."""
    rows = connection.execute(_PENDING, {"of_backend": backend, "above": after, "at_most": limit})
    return [_invoice(row) for row in rows]


def revoke(connection: Connection, key: bytes, now: int) -> bool:
    """Forget the root key and announce it."""
    if connection.dialect.name == "postgresql":
        # Cursors must become visible in their order, or a reader steps over one that commits late.
        connection.execute(text("LOCK TABLE revocations IN SHARE ROW EXCLUSIVE MODE"))
    if connection.execute(_FORGET_ROOT_KEY, {"wanted": key, "now": now}).rowcount != 1:
        return False
    connection.execute(insert(revocations), {"key": key, "at": now})
    return True


def revocations_after(connection: Connection, cursor: int, limit: int) -> Sequence[Revocation]:
    """Oldest first."""
    return [Revocation(*row) for row in connection.execute(_REVOCATIONS, {"since": cursor, "at_most": limit})]


def _invoice(row: Row[Any]) -> StoredInvoice:
    return StoredInvoice(**dict(zip(INVOICE_FIELDS, row, strict=True)))
