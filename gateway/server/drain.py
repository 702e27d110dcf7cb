"""Stop without failing anybody: refuse nothing that was accepted, keep no connection, wait for what is in flight."""

from __future__ import annotations

import asyncio


class Drain:
    """Counts requests in flight; once ``draining``, every answer closes its connection."""

    def __init__(self) -> None:
        self.draining = False
        self.in_flight = 0
        self._idle: asyncio.Event | None = None

    def enter(self) -> None:
        """A request begins; ``leave`` must follow. Two plain calls, because every request pays for them."""
        self.in_flight += 1
        if self._idle is not None:
            self._idle.clear()

    def leave(self) -> None:
        """A request is over."""
        self.in_flight -= 1
        if self.in_flight == 0 and self._idle is not None:
            self._idle.set()

    def begin(self) -> None:
        """From now on answers carry ``Connection: close``."""
        self.draining = True

    async def wait_idle(self, timeout_s: float) -> bool:
        """True once nothing is in flight, False when ``timeout_s`` passed first."""
        if self._idle is None:
            self._idle = asyncio.Event()
            if self.in_flight == 0:
                self._idle.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
