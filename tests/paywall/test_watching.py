"""No settlement is missed: stream, sweep, restarts of either side, repetitions, strangers, outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.errors import NodeRefusedRequest, NodeUnreachable, OutageError
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import InvoiceStatus
from gateway.paywall.minting import IssuedChallenge
from gateway.paywall.watching import FIRST_WAIT_S, FULL_SWEEPS, LONGEST_WAIT_S, PAGE, SWEEP_EVERY_S, SettlementWatcher
from tests.paywall.parties import CHEAP, EXPIRY_S, START, Shop, down, hashes, until


class Pauses:
    """Takes every pause of a watcher: those between sweeps until a test ends them, the others at once."""

    def __init__(self) -> None:
        self.backoffs: list[float] = []
        self.sweeps_done = 0
        self._more = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        if seconds == SWEEP_EVERY_S:
            self.sweeps_done += 1
            await self._more.acquire()
        elif seconds >= FIRST_WAIT_S / 2:
            self.backoffs.append(seconds)
        await asyncio.sleep(0)

    async def sweep(self) -> None:
        """Let a minute pass and wait for the end of the sweep that follows."""
        done = self.sweeps_done
        self._more.release()
        await until(lambda: self.sweeps_done > done)


class Watch:
    """A watcher that runs, and what it told."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.pauses = Pauses()
        self.interruptions: list[OutageError] = []
        self.watcher = SettlementWatcher(shop.store, shop.node, shop.settlements, self, shop.clock, sleep=self.pauses)

    def interrupted(self, error: OutageError, wait_s: float) -> None:
        """See ``WatchLog``."""
        assert wait_s > 0
        self.interruptions.append(error)


@asynccontextmanager
async def watching(shop: Shop, *, sweeps: int = 1) -> AsyncIterator[Watch]:
    """A running watcher that has finished its first sweep (``sweeps=0``: that has only begun)."""
    watch = Watch(shop)
    task = asyncio.create_task(watch.watcher.run())
    try:
        if sweeps:
            await until(lambda: watch.pauses.sweeps_done >= sweeps and bool(shop.node.watched_from))
        yield watch
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def offers(shop: Shop, count: int) -> list[IssuedChallenge]:
    return [await shop.offer(CHEAP) for _ in range(count)]


async def test_a_settlement_on_the_stream_is_stored_with_its_index_and_reported_once() -> None:
    shop = Shop()
    (offer,) = await offers(shop, 1)
    async with watching(shop) as watch:
        shop.clock.now += 5
        shop.node.settle(offer.payment_hash)
        shop.node.tell(offer.payment_hash)
        await until(lambda: bool(shop.settled))
        stored = await shop.stored(offer.payment_hash)
        assert (stored.state, stored.settled_at, stored.settle_index) == (InvoiceState.SETTLED, START + 5, 1)
        assert await shop.store.settle_index(shop.node.name) == 1
        assert watch.interruptions == []


async def test_what_was_paid_while_the_gateway_was_down_is_found_at_the_start_without_any_index() -> None:
    shop = Shop()
    paid, unpaid = await offers(shop, 40), await offers(shop, 3)
    for offer in paid:
        shop.node.settle(offer.payment_hash)
    async with watching(shop):
        assert shop.node.watched_from == [0]
        assert hashes(shop.settled) == {offer.payment_hash for offer in paid}
        pending = await shop.store.pending_invoices(shop.node.name)
        assert hashes(pending) == {offer.payment_hash for offer in unpaid}


async def test_a_restart_continues_from_the_stored_index() -> None:
    shop = Shop()
    first, second = await offers(shop, 2)
    shop.node.settle(first.payment_hash)
    async with watching(shop):
        pass
    shop.node.settle(second.payment_hash)
    async with watching(shop):
        assert shop.node.watched_from == [0, 1]
        assert len(shop.settled) == 2


async def test_repetitions_and_any_order_change_nothing_and_the_index_never_falls() -> None:
    shop = Shop()
    sold = await offers(shop, 5)
    async with watching(shop):
        for offer in sold:
            shop.node.settle(offer.payment_hash)
        for offer in [*reversed(sold), *sold, sold[2]]:
            shop.node.tell(offer.payment_hash)
        await until(lambda: len(shop.settled) == 5)
        shop.node.tell(sold[0].payment_hash)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(shop.settled) == 5
        assert await shop.store.settle_index(shop.node.name) == 5
        assert [(await shop.stored(offer.payment_hash)).settle_index for offer in sold] == [1, 2, 3, 4, 5]


async def test_somebody_elses_invoice_moves_the_index_and_nothing_else() -> None:
    shop = Shop()
    async with watching(shop) as watch:
        shop.node.tell(InvoiceStatus(b"\x09" * 32, InvoiceState.SETTLED, Msat(7), Msat(7), None, 12))
        (offer,) = await offers(shop, 1)
        shop.node.settle_index = 12
        shop.node.settle(offer.payment_hash)
        shop.node.tell(offer.payment_hash)
        await until(lambda: bool(shop.settled))
        assert hashes(shop.settled) == {offer.payment_hash}
        assert await shop.store.find_invoice(b"\x09" * 32) is None
        assert await shop.store.settle_index(shop.node.name) == 13
        assert watch.interruptions == []


async def test_a_node_that_is_down_at_the_start_is_asked_again_ever_more_rarely_and_then_misses_nothing() -> None:
    shop = Shop()
    (offer,) = await offers(shop, 1)
    shop.node.settle(offer.payment_hash)
    shop.node.outage = down()
    async with watching(shop, sweeps=0) as watch:
        await until(lambda: len(watch.pauses.backoffs) >= 10)
        assert watch.pauses.backoffs[0] <= FIRST_WAIT_S * 1.2
        assert all(pause <= LONGEST_WAIT_S * 1.2 for pause in watch.pauses.backoffs)
        assert watch.pauses.backoffs[9] >= LONGEST_WAIT_S * 0.8
        assert {type(error) for error in watch.interruptions} == {NodeUnreachable}
        assert shop.settled == []
        shop.node.outage = None
        await until(lambda: bool(shop.settled))


async def test_after_a_broken_stream_everything_pending_is_looked_up_again() -> None:
    shop = Shop()
    async with watching(shop) as watch:
        (offer,) = await offers(shop, 1)
        shop.node.settle(offer.payment_hash)  # while the stream was dying: nobody told
        shop.node.tell(down("stream removed"))
        await until(lambda: bool(shop.settled))
        assert len(watch.interruptions) == 1
        assert shop.node.watches_ended == 1


async def test_every_stream_is_closed_before_the_next_is_opened() -> None:
    shop = Shop()
    async with watching(shop) as watch:
        for round_number in range(1, 4):
            shop.store.outage = "locked"
            (status,) = [InvoiceStatus(b"\x09" * 32, InvoiceState.SETTLED, Msat(7), Msat(7), None, round_number)]
            shop.node.tell(status)  # cannot be stored: the reader, not the node, breaks off
            await until(lambda number=round_number: len(watch.interruptions) >= number)  # type: ignore[misc]
            shop.store.outage = None
            await until(lambda: len(shop.node.watched_from) == shop.node.watches_ended + 1)


async def test_an_outage_of_the_database_loses_no_settlement() -> None:
    shop = Shop()
    (offer,) = await offers(shop, 1)
    async with watching(shop) as watch:
        shop.store.outage = "disk full"
        shop.node.settle(offer.payment_hash)
        shop.node.tell(offer.payment_hash)
        await until(lambda: len(watch.interruptions) > 1)
        assert shop.settled == []
        shop.store.outage = None
        await until(lambda: bool(shop.settled))


async def test_the_first_sweeps_look_everything_up_and_the_later_ones_only_what_has_expired() -> None:
    shop = Shop()
    sold = await offers(shop, 3)
    async with watching(shop) as watch:
        for _ in range(1, FULL_SWEEPS):
            await watch.pauses.sweep()
        assert len(shop.node.looked_up) == FULL_SWEEPS * len(sold)
        shop.node.looked_up.clear()
        for _ in range(5):
            await watch.pauses.sweep()
        assert shop.node.looked_up == []
        shop.clock.now += EXPIRY_S + 1
        shop.node.settle(sold[0].payment_hash)
        shop.node.put(sold[1].payment_hash, InvoiceState.CANCELED)
        await watch.pauses.sweep()
        assert sorted(shop.node.looked_up) == sorted(offer.payment_hash for offer in sold)
        assert hashes(shop.settled) == {sold[0].payment_hash}
        assert hashes(await shop.store.pending_invoices(shop.node.name)) == {sold[2].payment_hash}


async def test_a_settlement_that_the_stream_never_told_is_found_by_the_second_sweep() -> None:
    shop = Shop()
    async with watching(shop) as watch:
        (offer,) = await offers(shop, 1)
        shop.node.settle(offer.payment_hash)
        await watch.pauses.sweep()
        assert hashes(shop.settled) == {offer.payment_hash}


async def test_a_crowd_of_pending_invoices_is_swept_page_by_page_and_few_at_once() -> None:
    shop = Shop()
    sold = await offers(shop, PAGE + 20)
    shop.node.open_for_lookups.clear()
    async with watching(shop, sweeps=0) as watch:
        await until(lambda: len(shop.node.looked_up) == 16)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(shop.node.looked_up) == 16
        shop.node.open_for_lookups.set()
        await until(lambda: watch.pauses.sweeps_done == 1)
        assert sorted(shop.node.looked_up) == sorted(offer.payment_hash for offer in sold)


async def test_an_invoice_that_the_node_has_forgotten_is_given_up_once_it_has_expired() -> None:
    shop = Shop()
    (offer,) = await offers(shop, 1)
    shop.node.statuses.clear()
    async with watching(shop) as watch:
        assert (await shop.stored(offer.payment_hash)).state is InvoiceState.OPEN
        shop.clock.now += EXPIRY_S + 1
        await watch.pauses.sweep()
        assert (await shop.stored(offer.payment_hash)).state is InvoiceState.CANCELED


async def test_a_look_up_that_the_node_refuses_is_reported_and_keeps_no_other_from_being_found() -> None:
    shop = Shop()
    sold = await offers(shop, 40)
    refused = min(offer.payment_hash for offer in sold)
    shop.node.refusals[refused] = NodeRefusedRequest("no")
    for offer in sold:
        shop.node.settle(offer.payment_hash)
    async with watching(shop) as watch:
        assert len(shop.settled) == 39
        assert shop.node.watches_ended == 0
        assert [type(error) for error in watch.interruptions] == [NodeRefusedRequest]
        shop.node.tell(refused)
        await until(lambda: len(shop.settled) == 40)


async def test_a_fault_of_ours_is_not_taken_for_an_outage() -> None:
    shop = Shop()
    await offers(shop, 1)
    shop.node.refusals = {payment_hash: ValueError("a bug") for payment_hash in shop.node.statuses}  # type: ignore[misc]
    with pytest.raises(ExceptionGroup):
        await Watch(shop).watcher.run()
    assert shop.node.watches_ended == 1


async def test_stopping_ends_the_stream_and_every_look_up() -> None:
    shop = Shop()
    await offers(shop, 3)
    shop.node.open_for_lookups.clear()
    async with watching(shop, sweeps=0):
        await until(lambda: len(shop.node.looked_up) == 3 and bool(shop.node.watched_from))
    assert shop.node.watches_ended == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}
