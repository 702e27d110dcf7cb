"""What every Lightning backend promises: subclass ``BackendConformance``, provide a fixture ``node`` (a ``Bench``)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import pytest

from gateway.errors import NodeRefusedRequest, OutageError, PaymentFailed, UnknownInvoice
from gateway.l402 import bolt11
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import InvoiceStatus, IssuedInvoice, LightningBackend, NewInvoice
from gateway.lightning.checking import MAX_MEMO_BYTES, check_invoice, fit_memo

PRICE = Msat(21_500)
PATIENCE_S = 30.0


class Bench(Protocol):
    """A backend on its node, with a wallet that can pay it."""

    @property
    def backend(self) -> LightningBackend:
        """The started backend; another object after ``restart``."""

    def now(self) -> int:
        """The node's time, Unix seconds."""

    async def pay(self, invoice: str) -> bytes:
        """Pay from the wallet and give the preimage; ``PaymentFailed`` if it cannot be paid."""

    async def restart(self) -> None:
        """Close the backend, stop and start its node, and open a new backend on it."""

    async def pass_time(self, seconds: float) -> None:
        """Let the node's time pass."""


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await check():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def watching(backend: LightningBackend, after: int) -> AsyncIterator[asyncio.Queue[InvoiceStatus]]:
    """A watch in a task of its own, as the gateway runs it."""
    queue: asyncio.Queue[InvoiceStatus] = asyncio.Queue()
    iterator = backend.watch(after)

    async def pump() -> None:
        async for status in iterator:
            queue.put_nowait(status)

    task = asyncio.create_task(pump())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_seen(queue: asyncio.Queue[InvoiceStatus], wanted: list[bytes]) -> list[InvoiceStatus]:
    """Settlements up to the one that completes ``wanted``, without repetitions."""
    seen: dict[bytes, InvoiceStatus] = {}
    async with asyncio.timeout(PATIENCE_S):
        while not set(wanted) <= seen.keys():
            status = await queue.get()
            seen.setdefault(status.payment_hash, status)
    return list(seen.values())


class BackendConformance:
    async def issue(
        self, node: Bench, amount: int = PRICE, expiry_s: int = 600, memo: str = "weather"
    ) -> IssuedInvoice:
        return await node.backend.create_invoice(NewInvoice(Msat(amount), expiry_s, memo))

    async def settle(self, node: Bench) -> InvoiceStatus:
        issued = await self.issue(node)
        await node.pay(issued.bolt11)
        await eventually(lambda: self.has_state(node, issued, InvoiceState.SETTLED))
        return await node.backend.lookup(issued.payment_hash)

    async def has_state(self, node: Bench, issued: IssuedInvoice, state: InvoiceState) -> bool:
        return (await node.backend.lookup(issued.payment_hash)).state is state

    async def test_a_started_backend_is_ready(self, node: Bench) -> None:
        health = await node.backend.health()
        assert health.ready, health.detail

    async def test_a_backend_says_what_it_is(self, node: Bench) -> None:
        assert node.backend.name in {"simulated", "lnd"}
        assert node.backend.network in bolt11.PREFIXES
        assert node.backend.play_money in {True, False}

    @pytest.mark.parametrize("amount", [1, 999, 1_000, 1_500, 100_000, 123_456_789])
    async def test_an_invoice_is_for_the_exact_amount_and_passes_the_check(self, node: Bench, amount: int) -> None:
        wanted = NewInvoice(Msat(amount), 600, "weather: default")
        issued = await node.backend.create_invoice(wanted)
        invoice = check_invoice(issued, wanted, network=node.backend.network, now=node.now())
        assert invoice.amount_msat == amount
        assert invoice.description == "weather: default"
        assert invoice.expiry_s == 600
        assert issued.bolt11 == issued.bolt11.lower()

    async def test_each_invoice_has_a_fresh_payment_hash(self, node: Bench) -> None:
        issued = await asyncio.gather(*(self.issue(node) for _ in range(32)))
        assert len({invoice.payment_hash for invoice in issued}) == 32
        assert len({invoice.bolt11 for invoice in issued}) == 32

    async def test_an_unpaid_invoice_is_open(self, node: Bench) -> None:
        issued = await self.issue(node)
        status = await node.backend.lookup(issued.payment_hash)
        assert status == InvoiceStatus(issued.payment_hash, InvoiceState.OPEN, PRICE, Msat(0), None, 0)

    async def test_a_paid_invoice_is_settled_with_amount_and_time(self, node: Bench) -> None:
        status = await self.settle(node)
        assert status.state is InvoiceState.SETTLED
        assert (status.amount_msat, status.paid_msat) == (PRICE, PRICE)
        assert status.settled_at is not None
        assert abs(status.settled_at - node.now()) <= 60
        assert status.settle_index > 0

    async def test_an_unknown_payment_hash_is_unknown(self, node: Bench) -> None:
        with pytest.raises(UnknownInvoice):
            await node.backend.lookup(hashlib.sha256(b"never issued").digest())

    async def test_the_preimage_hashes_to_the_payment_hash(self, node: Bench) -> None:
        issued = await self.issue(node)
        preimage = await node.pay(issued.bolt11)
        assert hashlib.sha256(preimage).digest() == issued.payment_hash

    async def test_each_settlement_has_a_higher_index(self, node: Bench) -> None:
        indices = [(await self.settle(node)).settle_index for _ in range(3)]
        assert indices == sorted(set(indices))

    async def test_a_watch_replays_what_was_settled_after_an_index_in_order(self, node: Bench) -> None:
        settled = [await self.settle(node) for _ in range(4)]
        async with watching(node.backend, settled[0].settle_index) as queue:
            seen = await until_seen(queue, [status.payment_hash for status in settled[1:]])
        assert seen == settled[1:]

    async def test_a_watch_goes_on_with_what_is_settled_later(self, node: Bench) -> None:
        first = await self.settle(node)
        async with watching(node.backend, first.settle_index) as queue:
            second = await self.settle(node)
            third = await self.settle(node)
            assert await until_seen(queue, [third.payment_hash]) == [second, third]

    async def test_a_watch_does_not_report_invoices_that_are_only_issued(self, node: Bench) -> None:
        first = await self.settle(node)
        async with watching(node.backend, first.settle_index) as queue:
            await self.issue(node)
            second = await self.settle(node)
            assert await until_seen(queue, [second.payment_hash]) == [second]

    async def test_a_watch_after_zero_replays_nothing(self, node: Bench) -> None:
        old = {(await self.settle(node)).payment_hash for _ in range(2)}
        new: set[bytes] = set()
        async with watching(node.backend, 0) as queue:
            # A node may take a moment until it listens to the watch: pay until it does.
            async with asyncio.timeout(PATIENCE_S):
                while queue.empty():
                    new.add((await self.settle(node)).payment_hash)
            first = queue.get_nowait()
        assert first.payment_hash in new - old

    async def test_several_watches_see_the_same(self, node: Bench) -> None:
        first = await self.settle(node)
        async with (
            watching(node.backend, first.settle_index) as one,
            watching(node.backend, first.settle_index) as other,
        ):
            second = await self.settle(node)
            assert await until_seen(one, [second.payment_hash]) == [second]
            assert await until_seen(other, [second.payment_hash]) == [second]

    async def test_an_invoice_can_be_paid_after_a_restart(self, node: Bench) -> None:
        issued = await self.issue(node)
        await node.restart()
        await node.pay(issued.bolt11)
        await eventually(lambda: self.has_state(node, issued, InvoiceState.SETTLED))

    async def test_settlements_outlive_a_restart(self, node: Bench) -> None:
        settled = [await self.settle(node) for _ in range(3)]
        await node.restart()
        assert await node.backend.lookup(settled[1].payment_hash) == settled[1]
        async with watching(node.backend, settled[0].settle_index) as queue:
            later = await self.settle(node)
            seen = await until_seen(queue, [later.payment_hash])
        assert seen == [*settled[1:], later]
        assert later.settle_index > settled[-1].settle_index

    async def test_an_unpaid_invoice_is_canceled_after_its_expiry(self, node: Bench) -> None:
        issued = await self.issue(node, expiry_s=2)
        await node.pass_time(3)
        with pytest.raises(PaymentFailed):
            await node.pay(issued.bolt11)
        await eventually(lambda: self.has_state(node, issued, InvoiceState.CANCELED))
        status = await node.backend.lookup(issued.payment_hash)
        assert (status.paid_msat, status.settled_at, status.settle_index) == (0, None, 0)

    @pytest.mark.parametrize("amount", [0, -1])
    async def test_an_invoice_without_an_amount_is_never_issued(self, node: Bench, amount: int) -> None:
        with pytest.raises(ValueError):
            await self.issue(node, amount=amount)

    @pytest.mark.parametrize("memo", ["", "x" * MAX_MEMO_BYTES, "ü" * (MAX_MEMO_BYTES // 2) + "x"])
    async def test_a_memo_of_up_to_639_bytes_is_kept(self, node: Bench, memo: str) -> None:
        issued = await self.issue(node, memo=memo)
        assert (bolt11.decode(issued.bolt11).description or "") == memo

    async def test_a_longer_memo_is_cut_or_refused_as_the_callers_mistake(self, node: Bench) -> None:
        memo = "x" * (MAX_MEMO_BYTES + 1)
        try:
            issued = await self.issue(node, memo=memo)
        except (ValueError, NodeRefusedRequest):
            return
        assert bolt11.decode(issued.bolt11).description == fit_memo(memo)

    async def test_a_closed_backend_is_out_of_order_and_can_be_closed_again(self, node: Bench) -> None:
        backend = node.backend
        await backend.aclose()
        await backend.aclose()
        assert not (await backend.health()).ready
        with pytest.raises(OutageError):
            await self.issue(node)
