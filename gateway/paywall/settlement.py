"""Whether and when a token's invoice was settled: from the row, else from the node, which is asked once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from gateway.errors import StorageUnavailable, UnknownInvoice
from gateway.l402.bolt11 import PREFIXES
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import InvoiceStatus, LightningBackend
from gateway.storage.store import Store, StoredInvoice

OnSettled = Callable[[StoredInvoice], None]
"""Told once of each invoice of ours that is paid, after that is durable."""


def settled_time(invoice: StoredInvoice, status: InvoiceStatus, now: int) -> int:
    """When the pass starts: the node's word, held between our own minting and now, since its clock may be wrong.

    Ours may be as well: a clock that was set back must not end a pass before it began.
    """
    return min(max(status.settled_at or now, invoice.created_at), max(now, invoice.created_at))


class Settlements:
    """Asks the node about invoices and stores what it says."""

    def __init__(
        self, store: Store, node: LightningBackend, clock: Callable[[], float], *, on_settled: OnSettled | None = None
    ) -> None:
        self._store = store
        self._node = node
        self._clock = clock
        self._on_settled = on_settled
        self._prefix = PREFIXES.get(node.network, node.network)
        self._asking: dict[bytes, asyncio.Task[StoredInvoice]] = {}

    def same_money(self, invoice: StoredInvoice) -> bool:
        """Whether this invoice asked for the money that today's node deals in.

        A database may hold tokens that were bought with play money before the node was exchanged for a real one.
        """
        text, prefix = invoice.bolt11, self._prefix
        # BOLT 11: after the network comes the amount or the separator, "1": a digit tells lnbc from lnbcrt.
        return text.startswith(prefix) and text[len(prefix) : len(prefix) + 1].isdigit()

    async def current(self, invoice: StoredInvoice) -> StoredInvoice:
        """The invoice as database and node know it now, stored when that is news.

        A crowd that asks for one hash causes one call. Raises ``OutageError`` when the node cannot tell.
        """
        if invoice.state is InvoiceState.SETTLED:
            return invoice
        task = self._asking.get(invoice.payment_hash)
        if task is None:
            task = asyncio.create_task(self._ask(invoice))
            self._asking[invoice.payment_hash] = task
            task.add_done_callback(lambda done: self._answered(invoice.payment_hash, done))
        # One caller hanging up must not take the answer from the others.
        return await asyncio.shield(task)

    async def store(self, invoice: StoredInvoice, status: InvoiceStatus) -> StoredInvoice:
        """Make the node's word durable and return the invoice as it stands then."""
        told = self._as_told(invoice, status)
        if told.settled_at is not None:
            news = await self._store.record_settlement(
                self._node.name,
                told.payment_hash,
                paid_msat=told.paid_msat,
                settled_at=told.settled_at,
                settle_index=told.settle_index,
            )
            if news and self._on_settled is not None:
                self._on_settled(told)
            return told if news else await self._store.find_invoice(told.payment_hash) or told
        if told.state is InvoiceState.CANCELED:
            await self._store.record_cancellation(told.payment_hash)
        return told

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
        # The caller's row may be old: the watcher, or another process, may have stored the settlement meanwhile.
        with suppress(StorageUnavailable):
            invoice = await self._store.find_invoice(invoice.payment_hash) or invoice
        if invoice.state is InvoiceState.SETTLED or invoice.backend != self._node.name:
            return invoice
        try:
            status = await self._node.lookup(invoice.payment_hash)
        except UnknownInvoice:
            return invoice
        try:
            return await self.store(invoice, status)
        except StorageUnavailable:
            # The node's word is enough to serve whoever paid; the sweep writes it down once the database is back.
            return self._as_told(invoice, status)

    def _as_told(self, invoice: StoredInvoice, status: InvoiceStatus) -> StoredInvoice:
        if status.state is not InvoiceState.SETTLED:
            return replace(invoice, state=status.state)
        return replace(
            invoice,
            state=InvoiceState.SETTLED,
            paid_msat=status.paid_msat,
            settled_at=settled_time(invoice, status, int(self._clock())),
            settle_index=status.settle_index,
        )


def paid_in_full(invoice: StoredInvoice) -> bool:
    """Settled, and for at least what was asked (L402 L42)."""
    return invoice.state is InvoiceState.SETTLED and invoice.paid_msat >= invoice.amount_msat
