"""What the node says about a payment, asked once at a time and stored once."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import NodeUnreachable, StorageUnavailable
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import InvoiceStatus
from gateway.paywall.settlement import paid_in_full, settled_time
from gateway.storage.store import StoredInvoice
from tests.paywall.parties import CHEAP, START, Clock, ObedientNode, Shop, down, until

CREATED = int(START)


@pytest.mark.parametrize(
    ("node_says", "now", "start"),
    [
        pytest.param(CREATED + 50, CREATED + 90, CREATED + 50, id="the node's word"),
        pytest.param(CREATED + 99, CREATED + 90, CREATED + 90, id="a node whose clock is ahead"),
        pytest.param(CREATED - 99, CREATED + 90, CREATED, id="a node whose clock is behind"),
        pytest.param(None, CREATED + 90, CREATED + 90, id="a node that does not say"),
        pytest.param(CREATED + 50, CREATED - 9_999, CREATED, id="our own clock was set back"),
    ],
)
def test_a_pass_starts_between_minting_and_now(node_says: int | None, now: int, start: int) -> None:
    invoice = StoredInvoice(b"\0" * 32, "lnbcrt1", Msat(1), "obedient", CREATED, CREATED + 600)
    status = InvoiceStatus(b"\0" * 32, InvoiceState.SETTLED, Msat(1), Msat(1), node_says, 1)
    assert settled_time(invoice, status, now) == start


@pytest.mark.parametrize(("paid", "enough"), [(0, False), (1_499, False), (1_500, True), (9_000, True)])
async def test_only_a_settled_invoice_that_brought_its_amount_is_paid_in_full(paid: int, *, enough: bool) -> None:
    shop = Shop()
    offer = await shop.offer(CHEAP)
    assert not paid_in_full(await shop.stored(offer.payment_hash))
    shop.node.settle(offer.payment_hash, paid=paid)
    assert paid_in_full(await shop.settlements.current(await shop.stored(offer.payment_hash))) is enough


async def test_a_crowd_that_asks_for_one_hash_costs_one_call_and_one_report() -> None:
    shop = Shop()
    offer = await shop.offer(CHEAP)
    invoice = await shop.stored(offer.payment_hash)
    shop.node.settle(offer.payment_hash)
    answers = await asyncio.gather(*(shop.settlements.current(invoice) for _ in range(100)))
    assert {answer.state for answer in answers} == {InvoiceState.SETTLED}
    assert shop.node.looked_up == [offer.payment_hash]
    assert [settled.payment_hash for settled in shop.settled] == [offer.payment_hash]
    assert await shop.settlements.current(answers[0]) is answers[0]


async def test_one_caller_who_hangs_up_takes_the_answer_from_nobody() -> None:
    shop = Shop()
    offer = await shop.offer(CHEAP)
    invoice = await shop.stored(offer.payment_hash)
    shop.node.settle(offer.payment_hash)
    shop.node.open_for_lookups.clear()
    first, second = (asyncio.create_task(shop.settlements.current(invoice)) for _ in range(2))
    await until(lambda: bool(shop.node.looked_up))
    first.cancel()
    shop.node.open_for_lookups.set()
    assert (await second).state is InvoiceState.SETTLED
    assert len(shop.node.looked_up) == 1


async def test_an_outage_is_told_to_everybody_who_waits_and_the_next_question_is_asked_anew() -> None:
    shop = Shop()
    offer = await shop.offer(CHEAP)
    invoice = await shop.stored(offer.payment_hash)
    shop.node.outage = down()
    asked = await asyncio.gather(*(shop.settlements.current(invoice) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in asked] == [NodeUnreachable] * 3
    shop.node.outage = None
    shop.node.settle(offer.payment_hash)
    assert (await shop.settlements.current(invoice)).state is InvoiceState.SETTLED


@pytest.mark.parametrize("state", [InvoiceState.OPEN, InvoiceState.ACCEPTED, InvoiceState.CANCELED])
async def test_what_is_not_settled_is_not_paid(state: InvoiceState) -> None:
    shop = Shop()
    offer = await shop.offer(CHEAP)
    shop.node.put(offer.payment_hash, state)
    current = await shop.settlements.current(await shop.stored(offer.payment_hash))
    assert current.state is state
    assert not paid_in_full(current)
    assert shop.settled == []


async def test_an_invoice_that_the_node_has_forgotten_stays_as_it_was() -> None:
    shop = Shop()
    offer = await shop.offer(CHEAP)
    shop.node.statuses.clear()
    invoice = await shop.stored(offer.payment_hash)
    assert await shop.settlements.current(invoice) == invoice


async def test_a_settlement_after_a_cancellation_counts() -> None:
    shop = Shop()
    offer = await shop.offer(CHEAP)
    shop.node.put(offer.payment_hash, InvoiceState.CANCELED)
    canceled = await shop.settlements.current(await shop.stored(offer.payment_hash))
    shop.node.settle(offer.payment_hash)
    assert (await shop.settlements.current(canceled)).state is InvoiceState.SETTLED


async def test_a_settlement_that_cannot_be_stored_is_told_to_the_buyer_but_not_to_the_watcher() -> None:
    shop = Shop()
    offer = await shop.offer(CHEAP)
    invoice = await shop.stored(offer.payment_hash)
    shop.node.settle(offer.payment_hash)
    shop.store.outage = "disk full"
    assert (await shop.settlements.current(invoice)).state is InvoiceState.SETTLED
    with pytest.raises(StorageUnavailable):
        await shop.settlements.store(invoice, shop.node.statuses[offer.payment_hash])
    assert shop.settled == []


async def test_an_invoice_of_another_backend_is_not_asked_for() -> None:
    before = Shop()
    offer = await before.offer(CHEAP)
    shop = Shop(store=before.store, node=ObedientNode(before.clock, name="another"), clock=before.clock)
    invoice = await shop.stored(offer.payment_hash)
    assert await shop.settlements.current(invoice) == invoice
    assert shop.node.looked_up == []


@pytest.mark.parametrize(
    ("network", "text", "same"),
    [
        ("mainnet", "lnbc15u1pq", True),
        ("mainnet", "lnbc1pq", True),
        ("mainnet", "lnbcrt15u1pq", False),
        ("mainnet", "lntb15u1pq", False),
        ("regtest", "lnbcrt15u1pq", True),
        ("regtest", "lnbc15u1pq", False),
        ("testnet", "lntb15u1pq", True),
        ("testnet", "lntbs15u1pq", False),
        ("signet", "lntbs15u1pq", True),
        ("signet", "lntb15u1pq", False),
    ],
)
def test_an_invoice_is_money_on_its_own_network_only(network: str, text: str, *, same: bool) -> None:
    shop = Shop(node=ObedientNode(Clock(), network=network))
    invoice = StoredInvoice(b"\0" * 32, text, Msat(1), "obedient", CREATED, CREATED + 600)
    assert shop.settlements.same_money(invoice) is same


async def test_closing_ends_what_is_still_asked() -> None:
    shop = Shop()
    offer = await shop.offer(CHEAP)
    shop.node.open_for_lookups.clear()
    asking = asyncio.create_task(shop.settlements.current(await shop.stored(offer.payment_hash)))
    await until(lambda: bool(shop.node.looked_up))
    await shop.settlements.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asking
