"""Follow the node's settlements, missing none across restarts of either side."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

from gateway.errors import NodeUnreachable, OutageError, UnknownInvoice
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import InvoiceStatus, LightningBackend
from gateway.paywall.settlement import Settlements
from gateway.storage.store import Store, StoredInvoice

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
LOOKUPS_AT_ONCE = 16
SWEEP_EVERY_S = 60.0


class WatchLog(Protocol):
    """What the watcher tells a person; the server gives it a logger."""

    def settled(self, invoice: StoredInvoice) -> None:
        """An invoice of ours is paid, and stored as such."""

    def interrupted(self, error: OutageError, wait_s: float) -> None:
        """The node or the database is away; tried again after ``wait_s``."""


class SettlementWatcher:
    """Reads the node's settlement stream and, at every connect and each minute, looks up what is still pending.

    The stream alone is not enough: lnd replays nothing from index 0, and an index can be lost. The look-ups alone
    would be slow. Both write through ``Store.record_settlement``, which takes repetitions and any order.
    """

    def __init__(
        self, store: Store, node: LightningBackend, settlements: Settlements, log: WatchLog, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._node = node
        self._settlements = settlements
        self._log = log
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        wait_s = FIRST_WAIT_S
        while True:
            started = self._clock()
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._follow())
                    both.create_task(self._sweep())
            except* OutageError as failures:
                if self._clock() - started > LONGEST_WAIT_S:
                    wait_s = FIRST_WAIT_S
                self._log.interrupted(_first(failures), wait_s)
            # Jitter keeps several gateways from knocking on a returning node at the same moment.
            await asyncio.sleep(wait_s * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    async def _follow(self) -> None:
        after = await self._store.settle_index(self._node.name)
        async for status in self._node.watch(after):
            await self._store_settlement(status)
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
        await self._settle(invoice, status)

    async def _settle(self, invoice: StoredInvoice, status: InvoiceStatus) -> None:
        known = invoice.state is InvoiceState.SETTLED
        stored = await self._settlements.store(invoice, status)
        if not known and stored.state is InvoiceState.SETTLED:
            self._log.settled(stored)

    async def _sweep(self) -> None:
        while True:
            after = b""
            while page := await self._store.pending_invoices(self._node.name, after=after):
                for start in range(0, len(page), LOOKUPS_AT_ONCE):
                    await asyncio.gather(*(self._look_up(invoice) for invoice in page[start : start + LOOKUPS_AT_ONCE]))
                after = page[-1].payment_hash
            await asyncio.sleep(SWEEP_EVERY_S)

    async def _look_up(self, invoice: StoredInvoice) -> None:
        try:
            status = await self._node.lookup(invoice.payment_hash)
        except UnknownInvoice:
            # The node was replaced or restored from a backup: nothing will ever pay this one.
            if self._clock() > invoice.expires_at:
                await self._store.record_cancellation(invoice.payment_hash)
            return
        if status.state in {InvoiceState.SETTLED, InvoiceState.CANCELED}:
            await self._settle(invoice, status)


def _first(failures: BaseExceptionGroup[OutageError]) -> OutageError:
    error = failures.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
