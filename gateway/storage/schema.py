"""The tables, as SQLAlchemy Core sees them; ``migrations/`` makes them, and a test proves that both say the same.

Amounts are integer millisatoshi, times are Unix seconds, hashes and root keys are 32 raw bytes. Column names of
``tokens`` and ``invoices`` are the field names of ``StoredToken`` and ``StoredInvoice``.

An invoice does not need a token (one may be kept ready before anybody asks), a payment may have several tokens (one
can be issued again), and a revocation does not need a token row: what is added later refers to these rows and leaves
them as they are.
"""

from __future__ import annotations

import json

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.engine import Dialect

from gateway.l402.invoice_state import InvoiceState

PENDING = "state IN ('open', 'accepted')"
"""Literal text, not bound values: SQLite uses a partial index only where the query repeats its condition."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class State(TypeDecorator[InvoiceState]):
    """An invoice's state by its name."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: InvoiceState | None, dialect: Dialect) -> str | None:
        """Python to database."""
        return None if value is None else value.value

    def process_result_value(self, value: str | None, dialect: Dialect) -> InvoiceState | None:
        """Database to Python."""
        return None if value is None else InvoiceState(value)


class Caveats(TypeDecorator[tuple[str, ...]]):
    """First-party caveats, in the order they were signed, as a JSON array of strings."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str | None:
        """Python to database."""
        return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...] | None:
        """Database to Python."""
        return None if value is None else tuple(json.loads(value))


invoices = Table(
    "invoices",
    metadata,
    Column("payment_hash", LargeBinary, primary_key=True),
    Column("bolt11", Text, nullable=False),
    Column("amount_msat", BigInteger, nullable=False),
    Column("backend", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("state", State, nullable=False),
    Column("paid_msat", BigInteger, nullable=False),
    Column("settled_at", BigInteger),
    Column("settle_index", BigInteger, nullable=False),
    CheckConstraint("length(payment_hash) = 32", name="payment_hash_bytes"),
    CheckConstraint("amount_msat >= 0 AND paid_msat >= 0", name="amounts"),
    CheckConstraint("settle_index >= 0", name="settle_index"),
    CheckConstraint("state IN ('open', 'accepted', 'settled', 'canceled')", name="state"),
    CheckConstraint("(state = 'settled') = (settled_at IS NOT NULL)", name="settled"),
)

Index(
    "ix_invoices_pending",
    invoices.c.backend,
    invoices.c.payment_hash,
    sqlite_where=text(PENDING),
    postgresql_where=text(PENDING),
)

tokens = Table(
    "tokens",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("identifier", LargeBinary, nullable=False),
    Column("payment_hash", LargeBinary, ForeignKey("invoices.payment_hash"), nullable=False, index=True),
    Column("root_key", LargeBinary),
    Column("service", Text, nullable=False),
    Column("tier", Integer, nullable=False),
    Column("route", Text, nullable=False),
    Column("price_msat", BigInteger, nullable=False),
    Column("caveats", Caveats, nullable=False),
    Column("valid_for_s", BigInteger),
    Column("valid_until", BigInteger),
    Column("issued_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    CheckConstraint("length(key) = 32", name="key_bytes"),
    CheckConstraint("root_key IS NULL OR length(root_key) = 32", name="root_key_bytes"),
    CheckConstraint("price_msat >= 0 AND tier >= 0", name="price"),
    CheckConstraint("revoked_at IS NULL OR root_key IS NULL", name="revoked"),
)

backends = Table(
    "backends",
    metadata,
    Column("name", Text, primary_key=True),
    Column("settle_index", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    CheckConstraint("settle_index >= 0", name="settle_index"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("cursor", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("key", LargeBinary, nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
    CheckConstraint("length(key) = 32", name="key_bytes"),
    sqlite_autoincrement=True,
)
