"""The store over a SQL database: SQLite or PostgreSQL, the same operations on both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from gateway.l402.amounts import Msat
from gateway.storage import operations
from gateway.storage.faults import RowRefused
from gateway.storage.operations import Operation, Settlement
from gateway.storage.store import Revocation, StoredInvoice, StoredToken, TokenRecord

T = TypeVar("T")


class Database(Protocol):
    """Runs operations; every failure of the database is a ``StorageUnavailable``."""

    async def read(self, operation: Operation[T]) -> T:
        """The result of an operation that changes nothing."""

    async def write(self, operation: Operation[T], *, scrub: bool = False) -> T:
        """The operation's result, once durable. ``scrub`` asks that deleted bytes be gone from the files too."""

    async def aclose(self) -> None:
        """Release everything; idempotent."""


class SqlStore:
    """A ``Store``. ``clock`` gives Unix seconds; ``warnings`` is what the operator should know about the database."""

    def __init__(self, database: Database, *, clock: Callable[[], float], warnings: tuple[str, ...] = ()) -> None:
        self._database = database
        self._clock = clock
        self.warnings = warnings

    async def save_challenge(self, token: StoredToken, invoice: StoredInvoice) -> None:
        """See ``Store``. Saving the very same again changes nothing; anything else under its keys is refused."""
        try:
            await self._database.write(lambda connection: operations.insert_challenge(connection, token, invoice))
        except RowRefused:
            if await self.find_token(token.key) != TokenRecord(token, invoice):
                raise

    async def find_token(self, key: bytes) -> TokenRecord | None:
        """See ``Store``; one query."""
        return await self._database.read(lambda connection: operations.find_token(connection, key))

    async def find_invoice(self, payment_hash: bytes) -> StoredInvoice | None:
        """See ``Store``."""
        return await self._database.read(lambda connection: operations.find_invoice(connection, payment_hash))

    async def record_settlement(
        self, backend: str, payment_hash: bytes, *, paid_msat: Msat, settled_at: int, settle_index: int
    ) -> bool:
        """See ``Store``."""
        settlement = Settlement(paid_msat, settled_at, settle_index, int(self._clock()))
        return await self._database.write(
            lambda connection: operations.record_settlement(connection, backend, payment_hash, settlement)
        )

    async def record_cancellation(self, payment_hash: bytes) -> None:
        """See ``Store``."""
        await self._database.write(lambda connection: operations.record_cancellation(connection, payment_hash))

    async def settle_index(self, backend: str) -> int:
        """See ``Store``."""
        return await self._database.read(lambda connection: operations.settle_index(connection, backend))

    async def pending_invoices(
        self, backend: str, *, after: bytes = b"", limit: int = 1_000
    ) -> Sequence[StoredInvoice]:
        """See ``Store``."""
        return await self._database.read(
            lambda connection: operations.pending_invoices(connection, backend, after, limit)
        )

    async def revoke(self, key: bytes, *, now: int) -> bool:
        """See ``Store``. On SQLite the root key's bytes are gone from the file and its log too."""
        return await self._database.write(lambda connection: operations.revoke(connection, key, now), scrub=True)

    async def revocations_after(self, cursor: int, *, limit: int = 1_000) -> Sequence[Revocation]:
        """See ``Store``."""
        return await self._database.read(lambda connection: operations.revocations_after(connection, cursor, limit))

    async def aclose(self) -> None:
        """See ``Store``."""
        await self._database.aclose()
