"""The simulated node's SQLite file: its key, its invoices and what was paid. Synchronous; used by one thread only.

Several processes may have the file open: every transaction takes the write lock first (``BEGIN IMMEDIATE``), so that
settlements are numbered and become visible in the same order. ``synchronous=NORMAL`` in WAL mode survives ``kill -9``
of any of them; a power cut may lose the last moments, which play money can bear.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import NodeNotReady
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import InvoiceStatus
from gateway.lightning.simulated.payment import Receipt, Refusal

LOCK_TIMEOUT_S = 5.0
KEEP_EXPIRED_S = 86_400
"""How long an unpaid invoice is still known after it expired."""

_PRUNED_AT_ONCE = 2_000
_VERSION = 1
_SCHEMA = (
    "CREATE TABLE node (id INTEGER PRIMARY KEY CHECK (id = 1), network TEXT NOT NULL, key BLOB NOT NULL)",
    """
    CREATE TABLE invoices (
        payment_hash BLOB PRIMARY KEY,
        preimage     BLOB NOT NULL,
        bolt11       TEXT NOT NULL,
        amount_msat  INTEGER NOT NULL,
        expires_at   INTEGER NOT NULL,
        due_at       REAL,     -- when its settlement is to be recorded; null = unpaid
        settled_at   INTEGER,
        settle_index INTEGER UNIQUE
    )
    """,
    "CREATE INDEX invoices_due ON invoices (due_at) WHERE due_at IS NOT NULL AND settle_index IS NULL",
    "CREATE INDEX invoices_unpaid ON invoices (expires_at) WHERE due_at IS NULL",
    f"PRAGMA user_version = {_VERSION}",
)
_STATUS = "SELECT payment_hash, amount_msat, expires_at, due_at, settled_at, settle_index FROM invoices"


@dataclass(frozen=True, slots=True)
class LedgerInvoice:
    """A new invoice. ``expires_at`` is Unix seconds; ``bolt11`` is lower case."""

    payment_hash: bytes
    bolt11: str
    amount_msat: Msat
    expires_at: int
    preimage: bytes = field(repr=False)


class Ledger:
    """One open file. Methods raise ``sqlite3.Error`` where SQLite does; times are Unix seconds."""

    def __init__(self, path: Path) -> None:
        """Open or create the file, mode 0600. Raises ``OSError``, ``sqlite3.Error``, ``NodeNotReady``."""
        _make_private(path)
        self._db = sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)
        try:
            self._use_wal()
            self._db.execute("PRAGMA synchronous = NORMAL")
            with self.transaction():
                self._create_tables()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed together, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # SQLite may have rolled back by itself (disk full), and then refuses to do it again.
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    def node_key(self, network: str, fresh: bytes) -> bytes:
        """The node's secret key: the one in the file, or ``fresh`` in a new file.

        Raises ``NodeNotReady`` when the file belongs to a node of another network.
        """
        self._db.execute("INSERT OR IGNORE INTO node VALUES (1, ?, ?)", (network, fresh))
        row = self._db.execute("SELECT network, key FROM node").fetchone()
        if row[0] != network:
            raise NodeNotReady(
                f"the simulated node's data file is for {row[0]}, not for {network}: choose another file"
            )
        return bytes(row[1])

    def add(self, invoice: LedgerInvoice) -> None:
        """Record a new, unpaid invoice."""
        self._db.execute(
            "INSERT INTO invoices (payment_hash, preimage, bolt11, amount_msat, expires_at) VALUES (?, ?, ?, ?, ?)",
            (invoice.payment_hash, invoice.preimage, invoice.bolt11, invoice.amount_msat, invoice.expires_at),
        )

    def find(self, payment_hash: bytes, now: float) -> InvoiceStatus | None:
        """One invoice, or None."""
        row = self._db.execute(f"{_STATUS} WHERE payment_hash = ?", (payment_hash,)).fetchone()
        return None if row is None else _status(row, now)

    def settled_after(self, settle_index: int, limit: int) -> list[InvoiceStatus]:
        """At most ``limit`` settlements with a higher index, in order."""
        rows = self._db.execute(
            f"{_STATUS} WHERE settle_index > ? ORDER BY settle_index LIMIT ?", (settle_index, limit)
        )
        return [_status(row, 0) for row in rows]

    def newest_settlement(self) -> int:
        """The highest settle index given so far, 0 if none."""
        return int(self._db.execute("SELECT coalesce(max(settle_index), 0) FROM invoices").fetchone()[0])

    def pay(self, payment_hash: bytes, bolt11: str, now: float, settle_late: float) -> Receipt | Refusal:
        """Pay an invoice of this node once; a second payment gives the same preimage and changes nothing."""
        row = self._db.execute(
            "SELECT bolt11, amount_msat, preimage, expires_at, due_at FROM invoices WHERE payment_hash = ?",
            (payment_hash,),
        ).fetchone()
        if row is None or row[0] != bolt11:
            return Refusal.UNKNOWN_INVOICE
        _, amount, preimage, expires_at, due_at = row
        if due_at is None:
            if now >= expires_at:
                return Refusal.EXPIRED
            self._db.execute("UPDATE invoices SET due_at = ? WHERE payment_hash = ?", (now + settle_late, payment_hash))
            self.settle_due(now)
        return Receipt(payment_hash=payment_hash, amount_msat=Msat(amount), preimage=preimage)

    def catch_up(self, now: float) -> int:
        """Settle what is due, forget what is stale; the newest settlement, whichever process recorded it."""
        self.settle_due(now)
        self.prune(now)
        return self.newest_settlement()

    def settle_due(self, now: float) -> None:
        """Record the settlements whose time has come, numbering them in the order of their times."""
        due = self._db.execute(
            "SELECT payment_hash FROM invoices WHERE due_at <= ? AND settle_index IS NULL ORDER BY due_at, rowid",
            (now,),
        ).fetchall()
        newest = self.newest_settlement() if due else 0
        for settle_index, (payment_hash,) in enumerate(due, start=newest + 1):
            self._db.execute(
                "UPDATE invoices SET settled_at = ?, settle_index = ? WHERE payment_hash = ?",
                (int(now), settle_index, payment_hash),
            )

    def prune(self, now: float) -> None:
        """Forget some unpaid invoices that expired a day ago: strangers can make the gateway ask for any number."""
        self._db.execute(
            "DELETE FROM invoices WHERE rowid IN"
            " (SELECT rowid FROM invoices WHERE due_at IS NULL AND expires_at < ? LIMIT ?)",
            (now - KEEP_EXPIRED_S, _PRUNED_AT_ONCE),
        )

    def _use_wal(self) -> None:
        """Switch a new file to WAL. SQLite does not wait here while another process does the same: so we do."""
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _create_tables(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise NodeNotReady("the simulated node's data file was written by a newer gateway")
        if version == 0:
            for statement in _SCHEMA:
                self._db.execute(statement)


def _make_private(path: Path) -> None:
    """Create the file readable by its owner only (SQLite gives its companions the same mode), or make it so.

    An existing file is not opened here: closing it would drop the locks of another connection of this process.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        path.chmod(0o600)


def _status(row: tuple[bytes, int, int, float | None, int | None, int | None], now: float) -> InvoiceStatus:
    payment_hash, amount, expires_at, due_at, settled_at, settle_index = row
    state = InvoiceState.OPEN
    if settle_index is not None:
        state = InvoiceState.SETTLED
    elif due_at is None and now >= expires_at:
        state = InvoiceState.CANCELED
    return InvoiceStatus(
        payment_hash=payment_hash,
        state=state,
        amount_msat=Msat(amount),
        paid_msat=Msat(amount if settle_index is not None else 0),
        settled_at=settled_at,
        settle_index=settle_index or 0,
    )
