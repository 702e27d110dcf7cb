"""Hear of tokens that any process revoked, and forget what was decided from them."""

from __future__ import annotations

import asyncio

from gateway.paywall.caches import Caches
from gateway.storage.store import Store

POLL_S = 0.5
"""A revocation reaches the caches within this time and one read."""
_STRIDE = 1_024


class RevocationFeed:
    """Follows ``Store.revocations_after``."""

    def __init__(self, store: Store, caches: Caches) -> None:
        self._store = store
        self._caches = caches
        self._cursor = 0

    async def start(self) -> None:
        """Begin at the newest revocation: empty caches have nothing to lose by the older ones, however many there are.

        Finds it by asking what lies beyond, in doubling strides and then by halving. Raises ``StorageUnavailable``.
        """
        newest, stride = self._cursor, _STRIDE
        while (beyond := await self._first_after(newest + stride)) is not None:
            newest, stride = beyond, stride * 2
        limit = newest + stride  # nothing lies beyond it
        while newest < limit:
            middle = (newest + limit) // 2
            if (beyond := await self._first_after(middle)) is None:
                limit = middle
            else:
                newest = beyond
        self._cursor = newest

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

    async def _first_after(self, cursor: int) -> int | None:
        page = await self._store.revocations_after(cursor, limit=1)
        return page[0].cursor if page else None
