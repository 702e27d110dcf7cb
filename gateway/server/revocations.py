"""Hear of tokens that any process revoked, and forget what was decided from them."""

from __future__ import annotations

import asyncio

from gateway.paywall.caches import Caches
from gateway.storage.store import Store

POLL_S = 0.5
"""A revocation reaches the caches within this time and one read."""


class RevocationFeed:
    """Follows ``Store.revocations_after``."""

    def __init__(self, store: Store, caches: Caches) -> None:
        self._store = store
        self._caches = caches
        self._cursor = 0

    async def catch_up(self) -> None:
        """Read everything new and drop it from the caches. Raises ``StorageUnavailable``."""
        while page := await self._store.revocations_after(self._cursor):
            for revocation in page:
                self._caches.forget_token(revocation.key)
            self._cursor = page[-1].cursor

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.catch_up()
            await asyncio.sleep(POLL_S)
