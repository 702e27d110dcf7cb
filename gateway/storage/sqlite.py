"""SQLite as a database of ours: one writer with group commit, a few readers; it heals by being opened again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from gateway.errors import OutageError, StorageUnavailable
from gateway.storage.deadline import Bounded
from gateway.storage.faults import NotNow, ReadOnly, translated
from gateway.storage.group_commit import GroupCommit
from gateway.storage.migrating import migrate_sqlite, stored_revision
from gateway.storage.operations import Operation
from gateway.storage.sqlite_file import check_whole, prepare_file

T = TypeVar("T")

READERS = 4
READ_DEADLINE_S = 5.0
RETRY_S = 0.5
"""After a failed attempt to open the file, the next one is made no sooner."""

_Identity = tuple[int, int]


class SqliteDatabase:
    """``read`` and ``write`` run operations; both raise only ``StorageUnavailable`` and what the operation raises."""

    def __init__(self, path: Path, *, busy_timeout_s: float) -> None:
        self._path = path.absolute()
        self._busy_timeout_s = busy_timeout_s
        self._engine = writing_engine(self._path, busy_timeout_s)
        self._readers = _reading_engine(self._path, busy_timeout_s)
        self._preparing = threading.Lock()
        self._prepared: _Identity | None = None
        self._checked: _Identity | None = None
        self._generation = 0
        self._readers_generation = 0
        self._existed = False
        self._failed_at = -RETRY_S
        self._failure = ""
        self._bounded = Bounded(READ_DEADLINE_S)
        self._writer: GroupCommit | None = None

    async def start(self) -> tuple[str, ...]:
        """Open the file, migrating it if need be; return what the operator should know.

        A file that exists but cannot be written or opened just now (read-only, disk full) is a warning: the store heals
        by itself. Raises ``StorageUnavailable`` and ``SchemaMismatch`` for everything that a person has to mend.
        """
        self._existed = self._path.exists()
        try:
            notes = await asyncio.to_thread(self._prepare)
        except NotNow as error:
            if not (self._existed and _may(self._path, os.R_OK)):
                raise
            notes = (f"{self._path}: {error}; this is tried again with every request",)
        else:
            # One reader stays open: it keeps the log's index in being, which a full disk would refuse to make anew.
            await self.read(stored_revision)
        self._writer = GroupCommit(self, deadline_s=2 * self._busy_timeout_s + READ_DEADLINE_S)
        return notes

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that changes nothing, on one of the reading connections."""
        return await self._bounded.run(self._read(operation))

    async def write(self, operation: Operation[T], *, scrub: bool = False) -> T:
        """Run an operation in the writer; see ``GroupCommit.run``."""
        if self._writer is None:
            raise StorageUnavailable("the store is not open")
        try:
            return await self._writer.run(operation, scrub=scrub)
        except ReadOnly:
            # Connections of one process share what they know of the log: the readers' must go too before it heals.
            self._prepared = None
            await self._dispose_readers()
            raise

    async def aclose(self) -> None:
        """Commit what waits, close every connection (the last one folds the log into the file); idempotent."""
        await self._bounded.aclose()
        await self._dispose_readers()
        if self._writer is not None:
            await self._writer.aclose()

    def ensure_ready(self) -> int:
        """Prepare the file unless it is the one that was prepared; called in threads only."""
        with self._preparing:
            if self._prepared is None or self._identity() != self._prepared:
                self._prepare_again()
            return self._generation

    def connect(self) -> Connection:
        """A connection for the writer."""
        with translated():
            return self._engine.connect()

    def _prepare_again(self) -> None:
        if time.monotonic() - self._failed_at < RETRY_S:
            raise StorageUnavailable(self._failure)
        self._prepared = None
        try:
            self._prepare()
        except OutageError as error:  # a SchemaMismatch as well: somebody put another file there
            self._failure, self._failed_at = str(error), time.monotonic()
            raise StorageUnavailable(self._failure) from None

    def _prepare(self) -> tuple[str, ...]:
        if self._existed and not self._path.exists():
            raise StorageUnavailable(f"the database file {self._path} is gone")
        notes = prepare_file(self._path)
        self._existed = True
        if self._identity() != self._checked:
            check_whole(self._path)
            self._checked = self._identity()
        self._migrate()
        if not _may(self._path, os.W_OK):
            notes = (*notes, f"{self._path} is read-only: nothing can be sold until it can be written")
        self._prepared = self._identity()
        self._generation += 1
        return notes

    def _migrate(self) -> None:
        engine = sqlite_engine(self._path, self._busy_timeout_s)
        with translated(), engine.connect() as connection:
            migrate_sqlite(connection)

    def _identity(self) -> _Identity | None:
        """Which file lies at the path: a deleted or replaced one must not be written to through an old connection."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    async def _read(self, operation: Operation[T]) -> T:
        if self._prepared is None or self._identity() != self._prepared:
            await asyncio.to_thread(self.ensure_ready)
        if self._readers_generation != self._generation:
            self._readers_generation = self._generation
            await self._dispose_readers()
        with translated():
            async with self._readers.connect() as connection:
                try:
                    return await connection.run_sync(operation)
                except DBAPIError:
                    await connection.invalidate()  # the next read opens a new one: that is how readers heal
                    raise

    async def _dispose_readers(self) -> None:
        with contextlib.suppress(StorageUnavailable), translated():
            await self._readers.dispose()


def _may(path: Path, mode: int) -> bool:
    """With the rights that opening the file would use."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _url(driver: str, path: Path) -> URL:
    """``mode=rw``: a file that has gone is an error, not an empty database."""
    return URL.create(
        driver, database="file:" + quote(os.fsencode(path.absolute())), query={"mode": "rw", "uri": "true"}
    )


def sqlite_engine(path: Path, busy_timeout_s: float) -> Engine:
    """Connections to an existing file whose transactions begin when, and how, somebody says BEGIN."""
    engine = create_engine(_url("sqlite", path), poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "connect", _on_connect(busy_timeout_s, "PRAGMA foreign_keys=ON"))
    return engine


def writing_engine(path: Path, busy_timeout_s: float) -> Engine:
    """Connections whose every transaction takes the write lock before it does anything."""
    engine = sqlite_engine(path, busy_timeout_s)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _reading_engine(path: Path, busy_timeout_s: float) -> AsyncEngine:
    engine = create_async_engine(
        _url("sqlite+aiosqlite", path),
        poolclass=AsyncAdaptedQueuePool,
        pool_size=READERS,
        max_overflow=0,
        pool_timeout=READ_DEADLINE_S,
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "connect", _on_connect(busy_timeout_s, "PRAGMA query_only=ON"))
    return engine


def _on_connect(busy_timeout_s: float, *more: str) -> Callable[[Any, Any], None]:
    """Settings that hold per connection; ``journal_mode=WAL`` is kept in the file."""
    pragmas = (
        f"PRAGMA busy_timeout={int(busy_timeout_s * 1_000)}",
        "PRAGMA synchronous=FULL",
        "PRAGMA wal_autocheckpoint=1000",
        "PRAGMA secure_delete=ON",
        *more,
    )

    def settle_in(connection: Any, _record: Any) -> None:
        try:
            connection.isolation_level = None  # the driver shall not begin transactions of its own
            cursor = connection.cursor()
            for pragma in pragmas:
                cursor.execute(pragma)
            cursor.close()
        except Exception:
            connection.close()  # nobody else knows of it yet
            raise

    return settle_in


def _begin_immediate(connection: Connection) -> None:
    """A deferred transaction that turns into a writing one fails at once instead of waiting for the lock."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
