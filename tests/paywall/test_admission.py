"""Who is let in: exactly those who paid for what they ask, whatever the caches, the node and the database do."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.errors import Fault, NodeUnreachable, StorageUnavailable
from gateway.l402.amounts import Msat
from gateway.paywall.admission import UNSETTLED_RECHECK_S
from gateway.paywall.decisions import ADMIT_FREE, Admit, Challenge, Decision, Refuse
from gateway.paywall.terms import Auth, Terms
from tests.paywall.parties import (
    CHEAP,
    DEAR,
    EXPIRY_S,
    FOREVER,
    HOUR,
    Clock,
    Headers,
    ObedientNode,
    Shop,
    down,
    key_of,
    narrowed,
    parts,
    proof,
    until,
)


def admitted(decision: Decision | None) -> bool:
    return isinstance(decision, Admit) and decision.token_key is not None


@pytest.mark.parametrize("terms", [CHEAP, DEAR, FOREVER])
async def test_who_paid_is_let_in_and_named(terms: Terms) -> None:
    shop = Shop()
    headers = await shop.buy(terms)
    decision = await shop.admission.decide(terms, headers)
    record = await shop.record(headers)
    assert isinstance(decision, Admit)
    assert decision.token_key == record.token.key
    assert decision.token_id == record.token.identifier[34:]
    assert decision.price_msat == terms.price_msat


async def test_who_shows_nothing_is_asked_to_pay_without_any_look_up() -> None:
    shop = Shop()
    shop.store.outage = "gone"
    assert await shop.admission.decide(CHEAP, [("Accept", "*/*")]) == Challenge(Fault.MISSING)
    assert await shop.admission.decide(CHEAP, [("Authorization", "Basic dXNlcg==")]) == Challenge(Fault.MISSING)


@pytest.mark.parametrize(
    ("terms", "headers"),
    [
        (replace(CHEAP, price_msat=Msat(0)), []),
        (replace(CHEAP, auth=Auth.OFF), [("Authorization", "L402 junk")]),
        (replace(CHEAP, auth=Auth.OPTIONAL), []),
        (replace(CHEAP, auth=Auth.OPTIONAL), [("Authorization", "L402 junk")]),
    ],
)
async def test_free_and_optional_routes_are_served_to_everybody(terms: Terms, headers: Headers) -> None:
    assert await Shop().admission.decide(terms, headers) is ADMIT_FREE


async def test_an_optional_route_names_who_paid() -> None:
    shop = Shop()
    headers = await shop.buy(CHEAP)
    assert admitted(await shop.admission.decide(replace(CHEAP, auth=Auth.OPTIONAL), headers))


async def test_a_token_is_good_where_it_was_quoted_and_on_what_costs_no_more() -> None:
    shop = Shop()
    cheap, dear = await shop.buy(CHEAP), await shop.buy(DEAR)
    assert await shop.admission.decide(DEAR, cheap) == Challenge(Fault.SCOPE)
    assert admitted(await shop.admission.decide(CHEAP, dear))
    assert admitted(await shop.admission.decide(CHEAP, cheap))
    assert await shop.admission.decide(DEAR, cheap) == Challenge(Fault.SCOPE), "also with the cheap one remembered"


async def test_a_price_rise_does_not_touch_what_was_bought_before_nor_open_other_routes() -> None:
    shop = Shop()
    headers = await shop.buy(CHEAP)
    assert admitted(await shop.admission.decide(replace(CHEAP, price_msat=Msat(90_000)), headers))
    sibling = replace(CHEAP, route="other", price_msat=Msat(1_501))
    assert await shop.admission.decide(sibling, headers) == Challenge(Fault.SCOPE)
    assert admitted(await shop.admission.decide(replace(sibling, price_msat=Msat(1_500)), headers))


@pytest.mark.parametrize(
    "elsewhere", [replace(CHEAP, service="archive"), replace(CHEAP, tier=1), replace(CHEAP, service="weather_b")]
)
async def test_a_token_is_worth_nothing_at_another_service_or_tier(elsewhere: Terms) -> None:
    shop = Shop()
    assert await shop.admission.decide(elsewhere, await shop.buy(CHEAP)) == Challenge(Fault.SCOPE)


async def test_a_holder_can_narrow_the_quoted_price_and_route_and_never_widen_them() -> None:
    shop = Shop()
    dear = await shop.buy(DEAR)
    modest = narrowed(dear, "gw_price_msat=1499")
    assert await shop.admission.decide(CHEAP, modest) == Challenge(Fault.SCOPE)
    assert admitted(await shop.admission.decide(DEAR, modest))
    for widening in ("gw_price_msat=20001", "gw_route=history,default", "services=weather:0,archive:0"):
        assert await shop.admission.decide(DEAR, narrowed(dear, widening)) == Challenge(Fault.INVALID_CAVEAT)


async def test_a_preimage_of_another_invoice_proves_nothing() -> None:
    shop = Shop()
    mine, theirs = await shop.offer(CHEAP), await shop.buy(CHEAP)
    decision = await shop.admission.decide(CHEAP, proof(mine.token, parts(theirs)[1]))
    assert decision == Challenge(Fault.INVALID_PREIMAGE)


async def test_two_different_good_credentials_are_ambiguous_every_time() -> None:
    shop = Shop()
    both = await shop.buy(CHEAP) + await shop.buy(CHEAP)
    for _ in range(3):
        assert await shop.admission.decide(CHEAP, both) == Refuse("ambiguous_authorization")
    assert admitted(await shop.admission.decide(CHEAP, both[:1]))


async def test_one_good_credential_beside_a_bad_one_is_enough_and_is_remembered() -> None:
    shop = Shop()
    good, other = await shop.buy(CHEAP), await shop.buy(CHEAP)
    await shop.revoke(other)
    assert admitted(await shop.admission.decide(CHEAP, other + good))
    assert admitted(shop.admission.decide_now(CHEAP, other + good))
    await shop.revoke(good)
    assert await shop.admission.decide(CHEAP, other + good) == Challenge(Fault.REVOKED)


async def test_a_pass_counts_from_its_settlement_and_ends_to_the_second() -> None:
    shop = Shop()
    offer = await shop.offer(CHEAP)
    shop.clock.now += EXPIRY_S - 1
    headers = proof(offer.token, shop.node.settle(offer.payment_hash))
    end = shop.clock.now + HOUR
    shop.clock.now += 30  # used only later: that costs nothing and gains nothing
    decision = await shop.admission.decide(CHEAP, headers)
    assert isinstance(decision, Admit)
    assert decision.valid_until == end
    shop.clock.now = end - 0.001
    assert admitted(await shop.admission.decide(CHEAP, headers))
    shop.clock.now = end
    assert shop.admission.decide_now(CHEAP, headers) is None
    assert await shop.admission.decide(CHEAP, headers) == Challenge(Fault.EXPIRED)


async def test_a_holder_can_end_a_pass_sooner_but_not_later() -> None:
    shop = Shop()
    headers = await shop.buy(CHEAP)
    soon = narrowed(headers, f"weather_valid_until={int(shop.clock.now) + 10}")
    assert admitted(await shop.admission.decide(CHEAP, soon))
    shop.clock.now += 10
    assert await shop.admission.decide(CHEAP, soon) == Challenge(Fault.EXPIRED)
    late = narrowed(headers, f"weather_valid_until={int(shop.clock.now) + 10**6}")
    assert await shop.admission.decide(CHEAP, late) == Challenge(Fault.INVALID_CAVEAT)


async def test_a_remembered_pass_costs_neither_database_nor_node() -> None:
    shop = Shop()
    headers = await shop.buy(CHEAP)
    first = await shop.admission.decide(CHEAP, headers)
    shop.store.outage, shop.node.outage = "gone", down()
    asked = len(shop.node.looked_up)
    assert shop.admission.decide_now(CHEAP, headers) == first
    assert len(shop.node.looked_up) == asked


async def test_with_the_node_away_a_paid_pass_is_served_on_its_signed_bound_until_the_node_is_back() -> None:
    shop = Shop()
    headers = await shop.buy(CHEAP)
    settled_at = shop.clock.now
    shop.node.outage = down()
    decision = await shop.admission.decide(CHEAP, headers)
    assert isinstance(decision, Admit)
    assert decision.valid_until == (await shop.record(headers)).token.valid_until
    shop.node.outage = None
    assert shop.admission.decide_now(CHEAP, headers) == decision
    shop.clock.now += UNSETTLED_RECHECK_S
    exact = await shop.admission.decide(CHEAP, headers)
    assert isinstance(exact, Admit)
    assert exact.valid_until == settled_at + HOUR


async def test_a_settlement_that_the_database_has_is_believed_while_the_node_is_away() -> None:
    for strict in (False, True):
        shop = Shop(strict=strict)
        offer = await shop.offer(CHEAP)
        headers = proof(offer.token, shop.node.preimages[offer.payment_hash])
        await shop.admission.decide(CHEAP, headers)  # too early: the row is remembered as it stands
        shop.node.settle(offer.payment_hash)
        settled_at = shop.clock.now
        await shop.settlements.store(await shop.stored(offer.payment_hash), shop.node.statuses[offer.payment_hash])
        shop.node.outage = down()
        shop.clock.now += UNSETTLED_RECHECK_S
        decision = await shop.admission.decide(CHEAP, headers)
        assert isinstance(decision, Admit)
        assert decision.valid_until == settled_at + HOUR


async def test_an_outage_of_the_database_is_an_outage_and_lets_nobody_in() -> None:
    shop = Shop()
    headers = await shop.buy(CHEAP)
    shop.store.outage = "locked"
    with pytest.raises(StorageUnavailable):
        await shop.admission.decide(CHEAP, headers)
    shop.store.outage = None
    assert admitted(await shop.admission.decide(CHEAP, headers))


async def test_strict_lets_in_only_who_settled_in_full() -> None:
    shop = Shop(strict=True)
    offer = await shop.offer(FOREVER)
    headers = proof(offer.token, shop.node.preimages[offer.payment_hash])
    assert await shop.admission.decide(FOREVER, headers) == Challenge(Fault.NOT_SETTLED)
    shop.node.settle(offer.payment_hash, paid=FOREVER.price_msat - 1)
    assert await shop.admission.decide(FOREVER, headers) == Challenge(Fault.NOT_SETTLED)
    generous = await shop.offer(FOREVER)
    more = proof(generous.token, shop.node.settle(generous.payment_hash, paid=FOREVER.price_msat * 2))
    assert admitted(await shop.admission.decide(FOREVER, more))


async def test_strict_asks_the_node_once_and_survives_its_outage_afterwards() -> None:
    shop = Shop(strict=True)
    headers = await shop.buy(FOREVER)
    shop.node.outage = down()
    with pytest.raises(NodeUnreachable):
        await shop.admission.decide(FOREVER, headers)
    shop.node.outage = None
    assert admitted(await shop.admission.decide(FOREVER, headers))
    shop.node.outage = down()
    assert admitted(await shop.admission.decide(FOREVER, narrowed(headers, "note=another-text")))


async def test_strict_serves_who_paid_though_the_settlement_cannot_be_written_down() -> None:
    shop = Shop(strict=True)
    headers = await shop.buy(CHEAP)
    unpaid = await shop.offer(CHEAP)
    early = proof(unpaid.token, shop.node.preimages[unpaid.payment_hash])
    assert await shop.admission.decide(CHEAP, early) == Challenge(Fault.NOT_SETTLED)
    assert (await shop.record(headers)).token is not None
    shop.caches.keep_record(await shop.record(headers), read_at=shop.caches.generation)
    shop.store.outage = "disk full"
    assert admitted(await shop.admission.decide(CHEAP, headers))
    assert await shop.admission.decide(CHEAP, early) == Challenge(Fault.NOT_SETTLED)


async def test_a_good_credential_counts_though_the_one_beside_it_cannot_be_checked() -> None:
    shop = Shop(strict=True)
    settled, other = await shop.buy(FOREVER), await shop.buy(FOREVER)
    await shop.admission.decide(FOREVER, settled)
    shop.node.outage = down()
    assert admitted(await shop.admission.decide(FOREVER, other + settled))
    with pytest.raises(NodeUnreachable):
        await shop.admission.decide(FOREVER, other)


@pytest.mark.parametrize("terms", [CHEAP, FOREVER])
@pytest.mark.parametrize("strict", [False, True])
async def test_a_token_bought_with_play_money_is_worth_nothing_once_the_node_is_real(
    terms: Terms, *, strict: bool
) -> None:
    toy = Shop(strict=strict)
    headers = await toy.buy(terms)
    assert admitted(await toy.admission.decide(terms, headers))
    real = ObedientNode(toy.clock, name="lnd", network="mainnet")
    shop = Shop(strict=strict, store=toy.store, node=real, clock=toy.clock)
    assert await shop.admission.decide(terms, headers) == Challenge(Fault.NOT_SETTLED)
    assert admitted(await shop.admission.decide(terms, await shop.buy(terms)))


async def test_a_token_outlives_an_exchange_of_the_node_for_another_of_the_same_network() -> None:
    before = Shop()
    headers = await before.buy(CHEAP)
    shop = Shop(store=before.store, node=ObedientNode(before.clock, name="another"), clock=before.clock)
    assert admitted(await shop.admission.decide(CHEAP, headers))


async def test_a_revoked_token_is_refused_at_once_also_when_it_was_remembered() -> None:
    shop = Shop()
    headers = await shop.buy(CHEAP)
    assert admitted(await shop.admission.decide(CHEAP, headers))
    await shop.revoke(headers)
    assert await shop.admission.decide(CHEAP, headers) == Challenge(Fault.REVOKED)


async def test_a_check_that_a_revocation_overtakes_is_never_remembered() -> None:
    shop = Shop()
    headers = await shop.buy(CHEAP)
    shop.node.open_for_lookups.clear()
    slow = asyncio.create_task(shop.admission.decide(CHEAP, headers))
    await until(lambda: bool(shop.node.looked_up))
    await shop.revoke(headers)
    assert await shop.admission.decide(CHEAP, headers) == Challenge(Fault.REVOKED)  # which reads the revoked row
    shop.node.open_for_lookups.set()
    await slow  # was under way before the revocation: either answer is right
    assert await shop.admission.decide(CHEAP, headers) == Challenge(Fault.REVOKED)


async def test_a_row_read_before_a_revocation_is_never_remembered_after_it() -> None:
    shop = Shop()
    headers = await shop.buy(CHEAP)
    record = await shop.record(headers)
    read_at = shop.caches.generation
    await shop.revoke(headers)
    shop.caches.keep_record(record, read_at=read_at)
    assert shop.caches.record(key_of(headers)) is None


async def test_a_clock_that_is_set_back_neither_ends_a_pass_nor_lengthens_it() -> None:
    shop = Shop(clock=Clock())
    offer = await shop.offer(CHEAP)
    shop.clock.now += 60
    paid_at = shop.clock.now
    preimage = shop.node.settle(offer.payment_hash)
    shop.clock.now -= 10 * 365 * 86_400  # a machine that boots without a clock
    await shop.settlements.store(await shop.stored(offer.payment_hash), shop.node.statuses[offer.payment_hash])
    shop.clock.now = paid_at + HOUR - 61
    assert admitted(await shop.admission.decide(CHEAP, proof(offer.token, preimage)))
    shop.clock.now = paid_at + HOUR
    assert await shop.admission.decide(CHEAP, proof(offer.token, preimage)) == Challenge(Fault.EXPIRED)
