"""Tokens, the invoices that pay for them, settle indexes and revocations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

PENDING = sa.text("state IN ('open', 'accepted')")


def upgrade() -> None:
    op.create_table(
        "invoices",
        sa.Column("payment_hash", sa.LargeBinary(), nullable=False),
        sa.Column("bolt11", sa.Text(), nullable=False),
        sa.Column("amount_msat", sa.BigInteger(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("paid_msat", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("settle_index", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(payment_hash) = 32", name=op.f("ck_invoices_payment_hash_bytes")),
        sa.CheckConstraint("amount_msat >= 0 AND paid_msat >= 0", name=op.f("ck_invoices_amounts")),
        sa.CheckConstraint("settle_index >= 0", name=op.f("ck_invoices_settle_index")),
        sa.CheckConstraint("state IN ('open', 'accepted', 'settled', 'canceled')", name=op.f("ck_invoices_state")),
        sa.CheckConstraint("(state = 'settled') = (settled_at IS NOT NULL)", name=op.f("ck_invoices_settled")),
        sa.PrimaryKeyConstraint("payment_hash", name=op.f("pk_invoices")),
    )
    op.create_index(
        "ix_invoices_pending",
        "invoices",
        ["backend", "payment_hash"],
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )
    op.create_table(
        "tokens",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("identifier", sa.LargeBinary(), nullable=False),
        sa.Column("payment_hash", sa.LargeBinary(), nullable=False),
        sa.Column("root_key", sa.LargeBinary(), nullable=True),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("tier", sa.Integer(), nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("price_msat", sa.BigInteger(), nullable=False),
        sa.Column("caveats", sa.Text(), nullable=False),
        sa.Column("valid_for_s", sa.BigInteger(), nullable=True),
        sa.Column("valid_until", sa.BigInteger(), nullable=True),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("length(key) = 32", name=op.f("ck_tokens_key_bytes")),
        sa.CheckConstraint("root_key IS NULL OR length(root_key) = 32", name=op.f("ck_tokens_root_key_bytes")),
        sa.CheckConstraint("price_msat >= 0 AND tier >= 0", name=op.f("ck_tokens_price")),
        sa.CheckConstraint("revoked_at IS NULL OR root_key IS NULL", name=op.f("ck_tokens_revoked")),
        sa.ForeignKeyConstraint(
            ["payment_hash"], ["invoices.payment_hash"], name=op.f("fk_tokens_payment_hash_invoices")
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_tokens")),
    )
    op.create_index(op.f("ix_tokens_payment_hash"), "tokens", ["payment_hash"])
    op.create_table(
        "backends",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("settle_index", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("settle_index >= 0", name=op.f("ck_backends_settle_index")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_backends")),
    )
    op.create_table(
        "revocations",
        sa.Column("cursor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(key) = 32", name=op.f("ck_revocations_key_bytes")),
        sa.PrimaryKeyConstraint("cursor", name=op.f("pk_revocations")),
        sa.UniqueConstraint("key", name=op.f("uq_revocations_key")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Nobody goes back to a database without money in it."""
    raise NotImplementedError("restore a backup instead: going back would delete what was paid")
