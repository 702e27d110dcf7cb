"""Challenges: what was checked and is durable leaves, and an outage leaves nothing behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.errors import InvoiceMismatch, NodeUnreachable, OutageError, StorageUnavailable
from gateway.l402 import bolt11
from gateway.l402.amounts import Msat
from gateway.l402.challenge import parse_challenges
from gateway.l402.identifier import Identifier
from gateway.l402.macaroon import decode_macaroon
from gateway.l402.tokens import decode_token
from gateway.lightning.backend import IssuedInvoice, NewInvoice
from gateway.paywall.minting import MINTING_AT_ONCE, SETTLEMENT_GRACE_S, STORAGE_PAUSE_S, Minter
from gateway.storage.memory import MemoryStore
from gateway.storage.store import StoredInvoice, StoredToken
from tests.paywall.parties import (
    CHEAP,
    EXPIRY_S,
    FOREVER,
    HOUR,
    START,
    Clock,
    ObedientNode,
    Shop,
    counted_bytes,
    down,
    key_of,
    proof,
    until,
)


async def test_a_challenge_asks_for_the_price_and_commits_to_its_invoice() -> None:
    shop = Shop()
    issued = await shop.offer(CHEAP)
    (offered,) = parse_challenges([issued.header])
    invoice = bolt11.decode(offered.invoice)
    identifier = Identifier.decode(decode_macaroon(decode_token(offered.token)).identifier)
    assert (invoice.amount_msat, invoice.expires_at) == (CHEAP.price_msat, issued.expires_at)
    assert invoice.payment_hash == identifier.payment_hash == issued.payment_hash
    assert offered.token == issued.token


async def test_the_token_says_what_was_sold_and_its_bound_covers_a_payment_at_the_last_moment() -> None:
    shop = Shop()
    caveats = decode_macaroon(decode_token((await shop.offer(replace(CHEAP, capabilities=("read",)))).token)).caveats
    bound = int(START) + EXPIRY_S + SETTLEMENT_GRACE_S + HOUR
    assert caveats == (
        b"services=weather:0",
        b"weather_capabilities=read",
        b"weather_valid_until=%d" % bound,
        b"gw_route=default",
        b"gw_price_msat=1500",
    )
    assert b"valid_until" not in b"".join(decode_macaroon(decode_token((await shop.offer(FOREVER)).token)).caveats)


async def test_the_rows_are_there_before_the_challenge_is() -> None:
    shop = Shop()
    issued = await shop.offer(CHEAP)
    record = await shop.store.find_token(key_of(proof(issued.token, b"\0" * 32)))
    assert record is not None
    assert record.token.root_key is not None
    assert record.invoice.bolt11 == issued.invoice
    assert (record.token.price_msat, record.token.valid_for_s) == (CHEAP.price_msat, HOUR)


async def test_tokens_and_root_keys_are_never_the_same() -> None:
    shop = Shop()
    offers = [await shop.offer(CHEAP) for _ in range(20)]
    keys = [await shop.store.find_token(key_of(proof(offer.token, b"\0" * 32))) for offer in offers]
    assert len({offer.token for offer in offers}) == 20
    assert len({record.token.root_key for record in keys if record is not None}) == 20


async def test_the_memo_names_service_route_host_and_price_within_bolt11s_length() -> None:
    shop = Shop()
    await shop.minter.issue(CHEAP, "api.example.com")
    await shop.minter.issue(replace(CHEAP, route="history"), "h" * 5_000)
    assert shop.node.issued[0].memo == "L402 weather at api.example.com, 1500 msat"
    assert shop.node.issued[1].memo.startswith("L402 weather/history at hhh")
    assert len(shop.node.issued[1].memo) == 639


async def test_with_the_node_away_nothing_is_stored() -> None:
    shop = Shop()
    shop.node.outage = down()
    with pytest.raises(NodeUnreachable):
        await shop.offer(CHEAP)
    assert await shop.store.pending_invoices(shop.node.name) == []
    shop.node.outage = None
    await shop.offer(CHEAP)


class WrongNode(ObedientNode):
    """Returns another invoice than the one that was asked for."""

    wrong = "amount"

    async def create_invoice(self, wanted: NewInvoice) -> IssuedInvoice:
        """See ``LightningBackend``."""
        if self.wrong == "amount":
            return await super().create_invoice(replace(wanted, amount_msat=Msat(wanted.amount_msat - 1)))
        if self.wrong == "expiry":
            return await super().create_invoice(replace(wanted, expiry_s=wanted.expiry_s * 10))
        issued = await super().create_invoice(wanted)
        if self.wrong == "hash":
            return replace(issued, payment_hash=b"\x07" * 32)
        return replace(issued, bolt11=issued.bolt11.upper() if self.wrong == "case" else "lnbcrt1junk")


@pytest.mark.parametrize("wrong", ["amount", "expiry", "hash", "case", "junk", "network"])
async def test_an_invoice_that_is_not_what_was_asked_for_is_an_outage_and_is_not_stored(wrong: str) -> None:
    clock = Clock()
    node = WrongNode(clock)
    node.wrong = wrong
    shop = Shop(node=node, clock=clock)
    if wrong == "network":
        node.wrong = "nothing"
        node.network = "testnet"
    with pytest.raises(InvoiceMismatch):
        await shop.offer(CHEAP)
    assert await shop.store.pending_invoices(node.name) == []


async def test_after_a_failed_write_no_invoice_is_made_for_a_moment_whatever_the_clock_does() -> None:
    clock, timer, node, store = Clock(), Clock(), ObedientNode(Clock()), MemoryStore()
    minter = Minter(store, node, invoice_expiry_s=EXPIRY_S, clock=clock, token_bytes=counted_bytes(), timer=timer)
    store.outage = "disk full"
    with pytest.raises(StorageUnavailable):
        await minter.issue(CHEAP, "x")
    for _ in range(50):
        with pytest.raises(StorageUnavailable):
            await minter.issue(CHEAP, "x")
    assert len(node.issued) == 1
    store.outage = None
    timer.now += STORAGE_PAUSE_S
    clock.now = START - 60
    await minter.issue(CHEAP, "x")


class SlowStore(MemoryStore):
    """A database that hangs: writes wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def save_challenge(self, token: StoredToken, invoice: StoredInvoice) -> None:
        """See ``Store``."""
        await self.go.wait()
        await super().save_challenge(token, invoice)


async def test_while_the_database_hangs_only_so_many_invoices_are_made() -> None:
    store = SlowStore()
    shop = Shop(store=store)
    waiting = [asyncio.create_task(shop.offer(CHEAP)) for _ in range(MINTING_AT_ONCE)]
    await until(lambda: len(shop.node.issued) == MINTING_AT_ONCE)
    with pytest.raises(OutageError):
        await shop.offer(CHEAP)
    assert len(shop.node.issued) == MINTING_AT_ONCE
    store.go.set()
    assert len(await asyncio.gather(*waiting)) == MINTING_AT_ONCE
    await shop.offer(CHEAP)


async def test_no_secret_is_in_a_challenges_repr() -> None:
    issued = await Shop().offer(CHEAP)
    assert issued.token not in repr(issued)
