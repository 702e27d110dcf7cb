"""SQLite's one writer: a thread with its own connection, which commits together whatever waits together.

One Python ``sqlite3`` connection used from several threads can lose rows while the file is locked, and a commit with
``synchronous=FULL`` costs an fsync however many rows it carries. So writes queue up while a commit runs, the next
commit takes all of them, and each caller is answered only after the commit that holds its write.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from gateway.errors import StorageUnavailable
from gateway.storage.faults import translated
from gateway.storage.operations import Operation

T = TypeVar("T")

MAX_WAITING = 4_096
"""Writes that may wait; the next one is refused at once instead of waiting longer than its client would."""
MAX_BATCH = 256


class WriteSource(Protocol):
    """Where the writer gets its connection. Both are called in the writer's thread and raise ``StorageUnavailable``."""

    def ensure_ready(self) -> int:
        """Check that the file is the one that was prepared, else prepare it; a number that changes when it was."""

    def connect(self) -> Connection:
        """A new connection for writing."""


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    operation: Operation[Any]
    scrub: bool
    answer: asyncio.Future[Any]


_Outcome = tuple[_Write, Any, Exception | None]


class GroupCommit:
    """Runs operations in BEGIN IMMEDIATE transactions, in the order they came."""

    def __init__(self, source: WriteSource, *, deadline_s: float, max_waiting: int = MAX_WAITING) -> None:
        self._source = source
        self._deadline_s = deadline_s
        self._queue: queue.Queue[_Write | None] = queue.Queue(max_waiting)
        self._connection: Connection | None = None
        self._generation = -1
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="sqlite-writer", daemon=True)
        self._thread.start()

    async def run(self, operation: Operation[T], *, scrub: bool = False) -> T:
        """The operation's result, once it is durable. A caller that is cancelled leaves its write to happen.

        ``scrub`` also empties the write-ahead log, so that deleted bytes are in no file. Raises ``StorageUnavailable``
        (then the write did not happen, or its outcome is unknown) and whatever the operation itself raised.
        """
        if self._closed:
            raise StorageUnavailable("the store is closed")
        write = _Write(operation, scrub, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(write)
        except queue.Full:
            raise StorageUnavailable("too many writes wait for the database") from None
        done, _ = await asyncio.wait({write.answer}, timeout=self._deadline_s)
        if not done:
            raise StorageUnavailable(f"the database has not committed within {self._deadline_s:g} s")
        result: T = write.answer.result()
        return result

    async def aclose(self) -> None:
        """Commit what waits, then end the thread; idempotent."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._queue.put, None)
        await asyncio.to_thread(self._thread.join, self._deadline_s)

    def _work(self) -> None:
        running = True
        while running:
            first = self._queue.get()
            batch, running = self._gather(first)
            if batch:
                _answer(self._commit(batch))
        self._drop()

    def _gather(self, first: _Write | None) -> tuple[list[_Write], bool]:
        batch: list[_Write] = []
        write = first
        while write is not None:
            if not write.answer.cancelled():
                batch.append(write)
            if len(batch) == MAX_BATCH:
                return batch, True
            try:
                write = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: Sequence[_Write]) -> list[_Outcome]:
        try:
            with translated():
                connection = self._connected()
                transaction = connection.begin()
        except Exception as error:  # noqa: BLE001  (every caller is told; the thread lives on)
            self._drop()
            return _failed([*batch, *self._everything_waiting()], error)
        try:
            with translated(), transaction:
                results = [write.operation(connection) for write in batch]
        except Exception as error:  # noqa: BLE001  (handed to the caller whose write it is; the thread lives on)
            self._drop()
            return self._one_by_one(batch, error)
        self._scrub(connection, batch)
        return [(write, result, None) for write, result in zip(batch, results, strict=True)]

    def _one_by_one(self, batch: Sequence[_Write], error: Exception) -> list[_Outcome]:
        """Nothing of a failed batch was kept: find out whose fault it was, so that nobody fails for another's row."""
        if len(batch) == 1:
            return _failed(batch, error)
        return [outcome for write in batch for outcome in self._commit([write])]

    def _everything_waiting(self) -> list[_Write]:
        """Those who queued up behind a lock that was not had are answered with it, instead of waiting once more."""
        waiting: list[_Write] = []
        with contextlib.suppress(queue.Empty):
            while (write := self._queue.get_nowait()) is not None:
                waiting.append(write)
            self._queue.put_nowait(None)
        return waiting

    def _connected(self) -> Connection:
        generation = self._source.ensure_ready()
        if self._connection is None or generation != self._generation:
            self._drop()
            self._connection = self._source.connect()
            self._generation = generation
        return self._connection

    def _drop(self) -> None:
        """A connection that failed is not trusted again: opening a new one is how a store heals."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(StorageUnavailable), translated():
                connection.close()

    def _scrub(self, connection: Connection, batch: Sequence[_Write]) -> None:
        """At best: while a reader holds the log, it stays until a later checkpoint."""
        if any(write.scrub for write in batch):
            with contextlib.suppress(StorageUnavailable), translated():
                cursor = connection.connection.cursor()  # outside any transaction: a checkpoint wants none
                cursor.execute("PRAGMA busy_timeout=0")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                cursor.close()
            self._drop()  # its timeout is not the writer's any more


def _failed(batch: Sequence[_Write], error: Exception) -> list[_Outcome]:
    return [(write, None, error) for write in batch]


def _answer(outcomes: Sequence[_Outcome]) -> None:
    """Wake the callers, each in its own event loop; a loop that has gone needs no answer."""
    loops = {write.answer.get_loop() for write, _, _ in outcomes}
    for loop in loops:
        mine = [outcome for outcome in outcomes if outcome[0].answer.get_loop() is loop]
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver, mine)


def _deliver(outcomes: Sequence[_Outcome]) -> None:
    for write, result, error in outcomes:
        if write.answer.done():
            continue
        if error is None:
            write.answer.set_result(result)
        else:
            write.answer.set_exception(error)
            write.answer.exception()  # retrieved: the caller may have been cancelled meanwhile
