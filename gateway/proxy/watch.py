"""Deadlines of all exchanges of a pool under one timer, because one timer per exchange costs more than its answer."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Watched(Protocol):
    """Who waits for something that may never come."""

    def check(self, now: float) -> None:
        """Asked every now and then; ``now`` is the loop's time in seconds."""


class Watch:
    """Asks everybody who waits, every ``interval_s`` seconds; has no timer while nobody does."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._waiting: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, one: Watched) -> None:
        """From now on until ``remove``."""
        self._waiting.add(one)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._look)

    def remove(self, one: Watched) -> None:
        """It has what it waited for, or gave up."""
        self._waiting.discard(one)

    def close(self) -> None:
        """End the timer; whoever waits still is not asked again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._interval_s, self._look) if self._waiting else None
        now = loop.time()
        for one in tuple(self._waiting):
            one.check(now)
