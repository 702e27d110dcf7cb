"""Statements of the L402 specification that concern the whole gateway; docs/conformance.md lists all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.l402 import bolt11
from gateway.l402.identifier import Identifier
from gateway.l402.macaroon import decode_macaroon
from gateway.l402.minting import attenuate
from gateway.l402.tokens import decode_token
from gateway.lightning.simulated import Faults
from tests.server.rig import SERVICES, Clock, Rig, key_of, running_rig

TODAY = "/weather/today"


async def test_L1_no_credential_is_answered_402(rig: Rig) -> None:
    assert (await rig.get(TODAY))[0] == 402


async def test_L2_an_insufficient_credential_is_answered_402_with_a_fresh_challenge(rig: Rig) -> None:
    paid = await rig.buy(TODAY)
    again = await rig.challenge("/archive/1", headers={"Authorization": paid})
    assert again.macaroon not in paid


async def test_L3_a_malformed_credential_is_answered_402_with_a_challenge(rig: Rig) -> None:
    assert (await rig.challenge(TODAY, headers={"Authorization": "L402 a:b:c"})).body["error"] == "malformed_credential"


async def test_L4_an_expired_credential_starts_over_with_a_new_invoice_and_token(rig: Rig) -> None:
    paid = await rig.buy(TODAY)
    assert isinstance(rig.clock, Clock)
    rig.clock.now += 3600
    again = await rig.challenge(TODAY, headers={"Authorization": paid})
    assert again.body["error"] == "token_expired"
    fresh = {"Authorization": f"L402 {again.macaroon}:{await rig.pay(again.invoice)}"}
    assert (await rig.get(TODAY, headers=fresh))[0] == 200


async def test_L5_L6_forged_credentials_are_401_only_where_the_switch_says_so(tmp_path: Path, rig: Rig) -> None:
    offer = await rig.challenge(TODAY)
    forged = {"Authorization": f"L402 {offer.macaroon}:{'0' * 64}"}
    assert (await rig.get(TODAY, headers=forged))[0] == 402
    other = tmp_path / "switched"
    other.mkdir()
    async with running_rig(other, top="invalid_credential_status: 401") as switched:
        offer = await switched.challenge(TODAY)
        forged = {"Authorization": f"L402 {offer.macaroon}:{'0' * 64}"}
        assert (await switched.get(TODAY, headers=forged))[0] == 401


async def test_L7_a_valid_credential_is_proxied_to_the_backend(rig: Rig) -> None:
    assert (await rig.get(TODAY, headers={"Authorization": await rig.buy(TODAY)}))[0] == 200
    assert rig.upstream.seen[-1][:2] == ("GET", TODAY)


async def test_L8_a_402_carries_www_authenticate_with_scheme_and_token(rig: Rig) -> None:
    assert (await rig.challenge(TODAY)).header.startswith('L402 macaroon="AgE')


async def test_L16_L50_the_token_commits_to_the_invoices_payment_hash(rig: Rig) -> None:
    offer = await rig.challenge(TODAY)
    identifier = Identifier.decode(decode_macaroon(decode_token(offer.macaroon)).identifier)
    assert identifier.payment_hash == bolt11.decode(offer.invoice).payment_hash


async def test_L18_the_invoice_is_for_exactly_the_price_in_millisatoshi(rig: Rig) -> None:
    assert bolt11.decode((await rig.challenge(TODAY)).invoice).amount_msat == 1_500
    assert bolt11.decode((await rig.challenge("/weather/history/1")).invoice).amount_msat == 20_000


async def test_L19_every_challenge_has_a_new_token_that_is_worth_nothing_until_its_invoice_is_paid(rig: Rig) -> None:
    offers = [await rig.challenge(TODAY) for _ in range(5)]
    assert len({offer.macaroon for offer in offers}) == len({offer.invoice for offer in offers}) == 5
    preimage = await rig.pay(offers[0].invoice)
    statuses = [
        (await rig.get(TODAY, headers={"Authorization": f"L402 {offer.macaroon}:{preimage}"}))[0] for offer in offers
    ]
    assert statuses == [200, 402, 402, 402, 402]


async def test_L23_lsat_is_accepted_wherever_l402_is(rig: Rig) -> None:
    paid = (await rig.buy(TODAY)).replace("L402 ", "LSAT ")
    assert (await rig.get(TODAY, headers={"Authorization": paid}))[0] == 200


async def test_L34_control_characters_and_extra_colons_are_answered_402(rig: Rig) -> None:
    offer = await rig.challenge(TODAY)
    preimage = await rig.pay(offer.invoice)
    for credential in (f"L402 {offer.macaroon}:{preimage}:", f"L402 {offer.macaroon}\t:{preimage}", "L402 :::"):
        again = await rig.challenge(TODAY, headers={"Authorization": credential})
        assert again.body["error"] == "malformed_credential"


async def test_L36_a_credential_is_reusable_until_it_ends(rig: Rig) -> None:
    paid = {"Authorization": await rig.buy(TODAY)}
    assert [(await rig.get(TODAY, headers=paid))[0] for _ in range(5)] == [200] * 5


async def test_L42_L43_strict_lets_nothing_through_before_the_node_says_settled(tmp_path: Path) -> None:
    async with running_rig(tmp_path, lightning=", strict: true") as rig:
        rig.node.faults = Faults(settle_late=3600)
        paid = {"Authorization": await rig.buy(TODAY)}
        assert (await rig.challenge(TODAY, headers=paid)).body["error"] == "payment_not_settled"
        assert rig.upstream.seen == []


async def test_L53_L54_root_keys_are_random_32_bytes_each_and_stored_under_the_hash_of_the_identifier(rig: Rig) -> None:
    keys = set()
    for _ in range(3):
        record = await rig.gateway.store.find_token(key_of((await rig.challenge(TODAY)).macaroon))
        assert record is not None
        keys.add(record.token.root_key)
    assert len(keys) == 3
    assert {len(key or b"") for key in keys} == {32}


async def test_L64_L91_raising_the_tier_makes_tokens_of_the_old_tier_buy_anew(tmp_path: Path) -> None:
    async with running_rig(tmp_path) as rig:
        paid = {"Authorization": await rig.buy("/archive/1")}
    raised = SERVICES.replace("  - name: archive\n", "  - name: archive\n    tier: 1\n")
    async with running_rig(tmp_path, services=raised) as rig:
        offer = await rig.challenge("/archive/1", headers=paid)
        assert offer.body["error"] == "insufficient_scope"
        fresh = {"Authorization": f"L402 {offer.macaroon}:{await rig.pay(offer.invoice)}"}
        assert (await rig.get("/archive/1", headers=fresh))[0] == 200


@pytest.mark.parametrize("name", ["Macaroon", "Grpc-Metadata-Macaroon", "Token", "Grpc-Metadata-Token"])
async def test_L82_L83_the_hex_forms_of_grpc_clients_are_accepted_and_stripped(rig: Rig, name: str) -> None:
    offer = await rig.challenge(TODAY)
    preimage = await rig.pay(offer.invoice)
    paid = attenuate(decode_token(offer.macaroon), [f"preimage={preimage}"]).hex()
    assert (await rig.get(TODAY, headers={name: paid}))[0] == 200
    assert rig.upstream.header(name) is None


async def test_L90_L93_a_revoked_token_is_worthless_for_ever_and_gets_a_new_challenge(tmp_path: Path) -> None:
    async with running_rig(tmp_path) as rig:
        offer = await rig.challenge(TODAY)
        paid = {"Authorization": f"L402 {offer.macaroon}:{await rig.pay(offer.invoice)}"}
        await rig.gateway.store.revoke(key_of(offer.macaroon), now=int(rig.clock()))
        assert (await rig.challenge(TODAY, headers=paid)).body["error"] == "token_revoked"
        record = await rig.gateway.store.find_token(key_of(offer.macaroon))
        assert record is not None
        assert record.token.root_key is None
    async with running_rig(tmp_path) as rig:
        assert (await rig.challenge(TODAY, headers=paid)).body["error"] == "token_revoked"


async def test_L92_a_pass_ends_with_its_time(rig: Rig) -> None:
    paid = {"Authorization": await rig.buy(TODAY)}
    assert isinstance(rig.clock, Clock)
    rig.clock.now += 3_599
    assert (await rig.get(TODAY, headers=paid))[0] == 200
    rig.clock.now += 1
    assert (await rig.get(TODAY, headers=paid))[0] == 402


async def test_S6_no_payment_hash_is_ever_used_twice(rig: Rig) -> None:
    offers = await asyncio.gather(*(rig.challenge(TODAY) for _ in range(20)))
    assert len({bolt11.decode(offer.invoice).payment_hash for offer in offers}) == 20


async def test_an_old_invoice_cannot_be_paid_so_nobody_pays_for_a_dead_pass(rig: Rig) -> None:
    offer = await rig.challenge(TODAY)
    assert isinstance(rig.clock, Clock)
    rig.clock.now += 601
    async with rig.session.post(f"{rig.node.endpoint}/pay", json={"invoice": offer.invoice}) as answer:
        assert answer.status != 200
        assert "preimage" not in json.loads(await answer.read())
