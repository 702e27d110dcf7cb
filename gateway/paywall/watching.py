"""Follow the node's settlements, missing none across restarts of either side."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Protocol

from gateway.errors import NodeRefusedRequest, NodeUnreachable, OutageError, UnknownInvoice
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import InvoiceStatus, LightningBackend
from gateway.paywall.settlement import Settlements
from gateway.storage.store import Store, StoredInvoice

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
LOOKUPS_AT_ONCE = 16
PAGE = 250
"""Pending rows read at once: turning 1,000 into objects holds the event loop up for 20 ms (measured)."""
SWEEP_EVERY_S = 60.0
FULL_SWEEPS = 2
"""After each connect, sweeps that look everything up: the first may end before the stream has begun."""


class WatchLog(Protocol):
    """What the watcher tells a person; the server gives it a logger."""

    def interrupted(self, error: OutageError, wait_s: float) -> None:
        """The node or the database is away, or the node refuses a look-up; tried again after ``wait_s``."""


class SettlementWatcher:
    """Reads the node's settlement stream and looks up what is pending: all at each connect, later what has expired.

    The stream alone is not enough: lnd replays nothing from index 0, and an index can be lost. Looking everything up
    each minute would be too much: strangers make pending invoices, by the hundred thousand. So an invoice costs one
    look-up after it expired, and two per connect. Both ways write through ``Store.record_settlement``, which takes
    repetitions and any order.
    """

    def __init__(
        self,
        store: Store,
        node: LightningBackend,
        settlements: Settlements,
        log: WatchLog,
        clock: Callable[[], float],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``clock`` gives Unix seconds and is compared with invoices; ``sleep`` makes every pause."""
        self._store = store
        self._node = node
        self._settlements = settlements
        self._log = log
        self._clock = clock
        self._sleep = sleep

    async def run(self) -> None:
        """Until cancelled."""
        wait_s = FIRST_WAIT_S
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._follow())
                    both.create_task(self._sweep())
            except* OutageError as failures:
                if loop.time() - started > LONGEST_WAIT_S:
                    wait_s = FIRST_WAIT_S
                self._log.interrupted(_first(failures), wait_s)
            # Jitter keeps several gateways from knocking on a returning node at the same moment.
            await self._sleep(wait_s * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def _follow(self) -> None:
        after = await self._store.settle_index(self._node.name)
        statuses = self._node.watch(after)
        try:
            async for status in statuses:
                await self._store_settlement(status)
        finally:
            if isinstance(statuses, AsyncGenerator):
                await statuses.aclose()  # its connection is ours to end, not the garbage collector's
        raise NodeUnreachable("the settlement stream ended")

    async def _store_settlement(self, status: InvoiceStatus) -> None:
        invoice = await self._store.find_invoice(status.payment_hash)
        if invoice is None:
            # Somebody else's invoice on a shared node: only its index matters to us.
            await self._store.record_settlement(
                self._node.name,
                status.payment_hash,
                paid_msat=status.paid_msat,
                settled_at=status.settled_at or int(self._clock()),
                settle_index=status.settle_index,
            )
            return
        await self._settlements.store(invoice, status)

    async def _sweep(self) -> None:
        for number in itertools.count():
            await self._look_up_pending(everything=number < FULL_SWEEPS)
            await self._sleep(SWEEP_EVERY_S)

    async def _look_up_pending(self, *, everything: bool) -> None:
        after = b""
        while page := await self._store.pending_invoices(self._node.name, after=after, limit=PAGE):
            due = [invoice for invoice in page if everything or self._clock() > invoice.expires_at]
            for start in range(0, len(due), LOOKUPS_AT_ONCE):
                await self._look_up_together(due[start : start + LOOKUPS_AT_ONCE])
            after = page[-1].payment_hash

    async def _look_up_together(self, invoices: Sequence[StoredInvoice]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with asyncio.TaskGroup() as together:
            for invoice in invoices:
                together.create_task(self._look_up(invoice))
        # As long a rest as the work took: buyers who wait for a challenge ask the same node.
        await self._sleep(loop.time() - started)

    async def _look_up(self, invoice: StoredInvoice) -> None:
        try:
            status = await self._node.lookup(invoice.payment_hash)
        except UnknownInvoice:
            # The node was replaced or restored from a backup: nothing will ever pay this one.
            if self._clock() > invoice.expires_at:
                await self._store.record_cancellation(invoice.payment_hash)
            return
        except NodeRefusedRequest as error:
            # It refuses this one; ending the stream for it would keep the others from being heard of.
            self._log.interrupted(error, SWEEP_EVERY_S)
            return
        if status.state in {InvoiceState.SETTLED, InvoiceState.CANCELED}:
            await self._settlements.store(invoice, status)


def _first(failures: BaseExceptionGroup[OutageError]) -> OutageError:
    error = failures.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
