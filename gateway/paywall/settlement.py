"""Whether and when a token's invoice was settled: from the row, else from the node, which is asked once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from gateway.errors import UnknownInvoice
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import InvoiceStatus, LightningBackend
from gateway.storage.store import Store, StoredInvoice


def settled_time(invoice: StoredInvoice, status: InvoiceStatus, now: int) -> int:
    """When the pass starts: the node's word, held between our own minting and now, since its clock may be wrong."""
    return min(max(status.settled_at or now, invoice.created_at), now)


class Settlements:
    """Asks the node about invoices and stores what it says."""

    def __init__(self, store: Store, node: LightningBackend, clock: Callable[[], float]) -> None:
        self._store = store
        self._node = node
        self._clock = clock
        self._asking: dict[bytes, asyncio.Task[StoredInvoice]] = {}

    async def current(self, invoice: StoredInvoice) -> StoredInvoice:
        """The invoice as the node knows it now, stored when that is news.

        A crowd that asks for one hash causes one call. Raises ``OutageError`` when the node or the database is out.
        """
        if invoice.state is InvoiceState.SETTLED or invoice.backend != self._node.name:
            return invoice
        task = self._asking.get(invoice.payment_hash)
        if task is None:
            task = asyncio.create_task(self._ask(invoice))
            self._asking[invoice.payment_hash] = task
            task.add_done_callback(lambda done: self._answered(invoice.payment_hash, done))
        # One caller hanging up must not take the answer from the others.
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """End every question that is still open."""
        tasks = tuple(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _answered(self, payment_hash: bytes, task: asyncio.Task[StoredInvoice]) -> None:
        self._asking.pop(payment_hash, None)
        if not task.cancelled():
            task.exception()  # seen here as well: the callers may all have gone

    async def _ask(self, invoice: StoredInvoice) -> StoredInvoice:
        try:
            status = await self._node.lookup(invoice.payment_hash)
        except UnknownInvoice:
            return invoice
        return await self.store(invoice, status)

    async def store(self, invoice: StoredInvoice, status: InvoiceStatus) -> StoredInvoice:
        """Make the node's word durable and return the invoice as it stands then."""
        if status.state is InvoiceState.SETTLED:
            settled_at = settled_time(invoice, status, int(self._clock()))
            await self._store.record_settlement(
                self._node.name,
                invoice.payment_hash,
                paid_msat=status.paid_msat,
                settled_at=settled_at,
                settle_index=status.settle_index,
            )
            return await self._store.find_invoice(invoice.payment_hash) or invoice
        if status.state is InvoiceState.CANCELED:
            await self._store.record_cancellation(invoice.payment_hash)
        return replace(invoice, state=status.state)


def paid_in_full(invoice: StoredInvoice) -> bool:
    """Settled, and for at least what was asked (L402 L42)."""
    return invoice.state is InvoiceState.SETTLED and invoice.paid_msat >= invoice.amount_msat
