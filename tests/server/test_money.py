"""Money and credentials over real sockets: what a buyer, a stranger and a cache between them can and cannot get."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.l402 import bolt11
from gateway.l402.macaroon import decode_macaroon
from gateway.l402.minting import attenuate
from gateway.l402.tokens import decode_token, encode_token
from gateway.paywall.caches import Caches
from gateway.server.exchange import Exchange
from gateway.server.revocations import RevocationFeed
from gateway.storage.memory import MemoryStore
from gateway.storage.store import StoredInvoice, StoredToken
from tests.server.rig import Rig, running_rig

TODAY = "/weather/today"


def memo_of(invoice: str) -> str | None:
    return bolt11.decode(invoice).description


async def test_an_invoice_names_our_own_host_not_the_one_that_a_stranger_asked_for(tmp_path: Path) -> None:
    async with running_rig(tmp_path, top="public_url: https://api.example.com") as rig:
        offer = await rig.challenge(TODAY, headers={"Host": "shop.evil.example"})
        assert memo_of(offer.invoice) == "L402 weather at api.example.com, 1500 msat"


async def test_without_a_public_url_an_invoice_names_the_host_that_was_asked_for(rig: Rig) -> None:
    offer = await rig.challenge(TODAY, headers={"Host": "api.example.com"})
    assert memo_of(offer.invoice) == "L402 weather at api.example.com, 1500 msat"


@pytest.mark.parametrize(
    ("said", "private"),
    [
        (None, True),
        ("public, max-age=3600", True),
        ("s-maxage=60", True),
        ("Private, max-age=60", False),
        ("no-store", False),
    ],
)
async def test_a_shared_cache_may_not_keep_what_was_paid_for(rig: Rig, said: str | None, *, private: bool) -> None:
    rig.upstream.answer_headers = {"Cache-Control": said} if said else {}
    paid = {"Authorization": await rig.buy(TODAY)}
    async with rig.session.get(rig.base + TODAY, headers=paid) as response:
        assert response.status == 200
        lines = response.headers.getall("Cache-Control")
        varied = response.headers["Vary"].lower()
    assert ("private" in lines) is private
    assert lines[0] == (said or "private")
    assert {"authorization", "macaroon", "grpc-metadata-macaroon"} <= set(varied.split(", "))


async def test_ambiguous_credentials_are_refused_every_time(rig: Rig) -> None:
    both = [("Authorization", await rig.buy(TODAY)), ("Authorization", await rig.buy(TODAY))]
    for _ in range(3):
        assert (await rig.get(TODAY, headers=both))[0] == 400
    assert rig.upstream.seen == []


async def test_every_settlement_is_logged_once_whoever_hears_of_it_first(rig: Rig) -> None:
    sold = [await rig.buy(TODAY) for _ in range(5)]
    for paid in sold:
        assert (await rig.get(TODAY, headers={"Authorization": paid}))[0] == 200
    async with asyncio.timeout(5):
        while rig.log.getvalue().count('"settled"') < len(sold):
            await asyncio.sleep(0.02)
    assert rig.log.getvalue().count('"settled"') == len(sold)


UNPAID_TRICKS = [
    ("OPTIONS", {}),
    ("OPTIONS", {"Origin": "https://x.example"}),
    ("OPTIONS", {"Origin": "https://x.example", "Access-Control-Request-Method": "GET"}),
    ("OPTIONS", {"Origin": "https://x.example", "Access-Control-Request-Method": "get"}),
    ("HEAD", {}),
    ("GET", {"X-HTTP-Method-Override": "OPTIONS"}),
    ("GET", {"X-Original-URL": "/weather/status", "X-Rewrite-URL": "/weather/status"}),
    ("GET", {"X-L402-Token-Id": "00" * 32, "X-L402-Price-Msat": "1500"}),
    ("POST", {"X-HTTP-Method-Override": "GET"}),
]


@pytest.mark.parametrize(("method", "headers"), UNPAID_TRICKS)
async def test_no_method_and_no_header_opens_a_priced_route(rig: Rig, method: str, headers: dict[str, str]) -> None:
    status, _, _ = await rig.get(TODAY, method=method, headers=headers)
    assert status in {204, 402}
    assert rig.upstream.seen == []


async def revoked(store: MemoryStore) -> bytes:
    key, payment_hash = secrets.token_bytes(32), secrets.token_bytes(32)
    invoice = StoredInvoice(payment_hash, "lnbcrt1", 1, "simulated", 1, 2)  # type: ignore[arg-type]
    token = StoredToken(key, b"i" * 66, payment_hash, b"k" * 32, "s", 0, "r", 1, (), None, None, 1)  # type: ignore[arg-type]
    await store.save_challenge(token, invoice)
    assert await store.revoke(key, now=1)
    return key


@pytest.mark.parametrize("count", [0, 1, 2, 1_023, 1_024, 1_025, 5_000])
async def test_the_revocation_feed_begins_at_the_newest_and_hears_of_every_later_one(count: int) -> None:
    store, caches = MemoryStore(), Caches()
    for _ in range(count):
        await revoked(store)
    feed = RevocationFeed(store, caches)
    await feed.start()
    await feed.catch_up()
    assert caches.generation == 0, "the old ones concern nobody: nothing was remembered yet"
    for _ in range(3):
        await revoked(store)
    await feed.catch_up()
    assert caches.generation == 3


def test_the_repr_of_an_exchange_shows_no_header() -> None:
    exchange = Exchange(None, 0.0, found={b"authorization": [b"L402 secret:secret"]})  # type: ignore[arg-type]
    assert "secret" not in repr(exchange)


async def test_inspect_spells_out_what_would_command_the_terminal(rig: Rig) -> None:
    offer = await rig.challenge(TODAY)
    hostile = encode_token(attenuate(decode_token(offer.macaroon), ["note=\x1b]0;owned\x07\nkey  00"]))
    shown = CliRunner().invoke(main, ["token", "inspect", hostile])
    assert shown.exit_code == 0
    assert "note=\\x1b]0;owned\\x07\\nkey  00" in shown.output
    assert "\x1b" not in shown.output


async def test_revoking_several_tokens_at_once_is_refused_instead_of_revoking_the_first(rig: Rig) -> None:
    one, two = await rig.challenge(TODAY), await rig.challenge(TODAY)
    assert decode_macaroon(decode_token(one.macaroon)).identifier
    done = CliRunner().invoke(main, ["token", "revoke", str(rig.config), f"L402 {one.macaroon},{two.macaroon}:00"])
    assert done.exit_code == 1
    assert "one at a time" in done.output
