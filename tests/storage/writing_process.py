"""A gateway's storage side, to be killed: saves, settles and revokes, and prints what was acknowledged.

Run as ``python -m tests.storage.writing_process URL FIRST``; challenges are numbered from FIRST.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

from gateway.l402.amounts import Msat
from gateway.storage.opening import open_store
from gateway.storage.sql_store import SqlStore
from tests.storage.samples import NOW, challenge

CALLERS = 8


async def main(url: str, first: int) -> None:
    store = await open_store(url, clock=lambda: NOW)
    numbers = itertools.count(first)
    await asyncio.gather(*(sell(store, numbers) for _ in range(CALLERS)))


async def sell(store: SqlStore, numbers: itertools.count[int]) -> None:
    for number in numbers:
        token, invoice = challenge(number)
        await store.save_challenge(token, invoice)
        print("saved", number, flush=True)
        if number % 2:
            await store.record_settlement(
                "lnd", invoice.payment_hash, paid_msat=Msat(number), settled_at=NOW, settle_index=number
            )
            print("settled", number, flush=True)
        if number % 5 == 0:
            await store.revoke(token.key, now=NOW)
            print("revoked", number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
