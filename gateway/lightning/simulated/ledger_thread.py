"""The one thread that touches the ledger, and the event loop's way to it.

What waits when the thread becomes free is done in one transaction: many small writes share one commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from gateway.errors import NodeNotReady, NodeUnreachable
from gateway.lightning.simulated.ledger import Ledger

T = TypeVar("T")

MAX_WAITING = 10_000
_MAX_BATCH = 256

_Job = tuple[Callable[[Ledger], Any], "asyncio.Future[Any]"]
_Outcome = tuple["asyncio.Future[Any]", Any, Exception | None]


class LedgerThread:
    """Opens the file in its own thread and runs jobs there, in the order they were given."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Open the file. Raises ``NodeNotReady`` saying why it cannot be used."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        ended: asyncio.Future[None] = loop.create_future()
        thread = threading.Thread(target=self._serve, args=(loop, opened, ended), name="simulated-ledger", daemon=True)
        self._thread, self._ended = thread, ended
        thread.start()
        try:
            await opened
        except (OSError, sqlite3.Error) as error:
            self._thread = None
            raise NodeNotReady(f"the simulated node's data file {self._path} cannot be used: {error}") from error

    async def run(self, job: Callable[[Ledger], T]) -> T:
        """The result of ``job``, once it is committed; a cancelled caller's job is done all the same.

        Raises ``NodeUnreachable`` when not open or overloaded, ``NodeNotReady`` when SQLite refuses.
        """
        if self._thread is None:
            raise NodeUnreachable("the simulated node is not running")
        if self._waiting >= MAX_WAITING:
            raise NodeUnreachable("too many calls wait for the simulated node")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting += 1
        self._jobs.put((job, future))
        try:
            return await future
        except sqlite3.Error as error:
            raise NodeNotReady(f"the simulated node's data file cannot be used: {error}") from error

    async def aclose(self) -> None:
        """Finish the jobs given so far and close the file; idempotent."""
        thread, ended = self._thread, self._ended
        self._thread = None
        if thread is not None:
            self._jobs.put(None)
        if ended is not None:
            await asyncio.shield(ended)

    def _serve(
        self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None], ended: asyncio.Future[None]
    ) -> None:
        try:
            ledger = Ledger(self._path)
        except (OSError, sqlite3.Error, NodeNotReady) as error:
            _call(loop, _deliver, [(opened, None, error), (ended, None, None)])
            return
        _call(loop, _deliver, [(opened, None, None)])
        try:
            more = True
            while more:
                batch, more = self._next_batch()
                _call(loop, self._deliver_counted, _commit(ledger, batch))
        finally:
            ledger.close()
            _call(loop, _deliver, [(ended, None, None)])

    def _next_batch(self) -> tuple[list[_Job], bool]:
        """What waits now, at least one job, and False once the end was asked for."""
        batch: list[_Job] = []
        job = self._jobs.get()
        with suppress(Empty):
            while job is not None:
                batch.append(job)
                if len(batch) == _MAX_BATCH:
                    return batch, True
                job = self._jobs.get_nowait()
            return batch, False
        return batch, True

    def _deliver_counted(self, outcomes: list[_Outcome]) -> None:
        self._waiting -= len(outcomes)
        _deliver(outcomes)


def _commit(ledger: Ledger, batch: list[_Job]) -> list[_Outcome]:
    try:
        with ledger.transaction():
            return [(future, job(ledger), None) for job, future in batch]
    except Exception as error:  # noqa: BLE001 -- raised again by whoever waits; the thread must go on
        return [(future, None, error) for _, future in batch]


def _call(loop: asyncio.AbstractEventLoop, target: Callable[[list[_Outcome]], None], outcomes: list[_Outcome]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(target, outcomes)


def _deliver(outcomes: list[_Outcome]) -> None:
    for future, result, error in outcomes:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
