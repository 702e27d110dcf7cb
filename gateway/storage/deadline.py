"""A deadline for each call on the database, and statements that are never cut in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from gateway.errors import StorageUnavailable

T = TypeVar("T")

MAX_RUNNING = 1_024
"""Calls that may wait for a connection; the next one is refused at once."""


class Bounded:
    """Runs each call in a task of its own, which a caller that hangs up leaves to finish.

    Interrupting a driver inside a statement costs its connection and leaves the outcome unknown.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def run(self, call: Coroutine[Any, Any, T]) -> T:
        """The call's result. Raises ``StorageUnavailable`` after the deadline, when too many wait, or once closed."""
        if self._closed or len(self._running) >= MAX_RUNNING:
            call.close()
            raise StorageUnavailable("the store is closed" if self._closed else "too many calls wait for the database")
        task = asyncio.get_running_loop().create_task(call)
        self._running.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait({task}, timeout=self._deadline_s)
        if not done:
            raise StorageUnavailable(f"the database has not answered within {self._deadline_s:g} s")
        return task.result()

    async def aclose(self) -> None:
        """Let running calls finish, then cancel those that do not."""
        self._closed = True
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=self._deadline_s)
        for task in late:
            task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved: the caller may have gone
