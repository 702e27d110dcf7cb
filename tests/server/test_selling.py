"""The main job over real sockets: 402, pay, 200; and everything that must not open the door."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.l402.minting import attenuate
from gateway.l402.tokens import decode_token, encode_token
from gateway.lightning.simulated import Faults
from tests.server.rig import Clock, Rig, key_of, running_rig

TODAY = "/weather/today"


def clock_of(rig: Rig) -> Clock:
    assert isinstance(rig.clock, Clock)
    return rig.clock


async def error_of(rig: Rig, path: str, **options: Any) -> tuple[int, str]:
    status, _, body = await rig.get(path, **options)
    return status, json.loads(body)["error"]


def narrowed(authorization: str, *caveats: str) -> str:
    scheme, _, credential = authorization.partition(" ")
    token, _, preimage = credential.partition(":")
    return f"{scheme} {encode_token(attenuate(decode_token(token), caveats))}:{preimage}"


async def test_an_unpaid_request_gets_402_and_never_reaches_the_upstream(rig: Rig) -> None:
    offer = await rig.challenge(TODAY)
    assert offer.body["price_msat"] == 1500
    assert offer.body["error"] == "payment_required"
    assert offer.body["play_money"] is True
    assert offer.body["valid_for_seconds"] == 3600
    assert rig.upstream.seen == []


async def test_a_paid_request_reaches_the_upstream_and_its_answer_the_buyer(rig: Rig) -> None:
    paid = await rig.buy(TODAY)
    status, _, body = await rig.get(f"{TODAY}?day=2", headers={"Authorization": paid})
    assert (status, json.loads(body)) == (200, {"path": f"{TODAY}?day=2", "length": 0})
    assert len(rig.upstream.seen) == 1


async def test_the_upstream_learns_who_paid_what_but_not_the_credential(rig: Rig) -> None:
    paid = await rig.buy(TODAY)
    await rig.get(TODAY, headers={"Authorization": paid, "X-L402-Token-Id": "forged", "X-L402-Service": "forged"})
    assert rig.upstream.header("authorization") is None
    token_id = rig.upstream.header("x-l402-token-id")
    assert token_id is not None
    assert len(token_id) == 64
    assert rig.upstream.header("x-l402-service") == "weather"
    assert rig.upstream.header("x-l402-price-msat") == "1500"
    assert "forged" not in str(rig.upstream.seen)


async def test_a_credential_is_reusable_for_any_method_and_the_body_arrives_once_and_whole(rig: Rig) -> None:
    paid = await rig.buy(TODAY)
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        status, _, _ = await rig.get(TODAY, method=method, headers={"Authorization": paid}, data=b"x" * 100_000)
        assert status == 200
    assert [(seen[0], len(seen[3])) for seen in rig.upstream.seen] == [
        (method, 100_000) for method in ("GET", "POST", "PUT", "DELETE", "PATCH")
    ]


async def test_a_free_route_asks_for_nothing_and_hides_a_credential_all_the_same(rig: Rig) -> None:
    paid = await rig.buy(TODAY)
    status, _, _ = await rig.get("/weather/status", headers={"Authorization": paid})
    assert status == 200
    assert rig.upstream.header("authorization") is None


async def test_a_cheap_token_never_buys_a_dear_route_but_a_dear_one_buys_a_cheap_route(rig: Rig) -> None:
    cheap, dear = await rig.buy(TODAY), await rig.buy("/weather/history/2020")
    assert await error_of(rig, "/weather/history/2020", headers={"Authorization": cheap}) == (402, "insufficient_scope")
    assert (await rig.get(TODAY, headers={"Authorization": dear}))[0] == 200
    assert (await rig.get("/weather/history/2020", headers={"Authorization": dear}))[0] == 200


async def test_a_token_for_one_service_is_worth_nothing_at_another(rig: Rig) -> None:
    paid = await rig.buy("/weather/history/2020")
    assert await error_of(rig, "/archive/1", headers={"Authorization": paid}) == (402, "insufficient_scope")


async def test_a_holder_can_narrow_a_token_and_never_widen_it(rig: Rig) -> None:
    paid = await rig.buy("/archive/edit")
    reader = narrowed(paid, "archive_capabilities=read")
    assert (await rig.get("/archive/1", headers={"Authorization": reader}))[0] == 200
    assert await error_of(rig, "/archive/edit", headers={"Authorization": reader}) == (402, "insufficient_scope")
    widened = narrowed(reader, "archive_capabilities=read,write")
    assert await error_of(rig, "/archive/1", headers={"Authorization": widened}) == (402, "invalid_caveat")


async def test_a_pass_counts_from_settlement_and_ends_to_the_second(rig: Rig) -> None:
    clock = clock_of(rig)
    offer = await rig.challenge(TODAY)
    clock.now += 590  # the invoice lives for 600 s: paid at the last moment
    paid = {"Authorization": f"L402 {offer.macaroon}:{await rig.pay(offer.invoice)}"}
    clock.now += 3599
    assert (await rig.get(TODAY, headers=paid))[0] == 200
    clock.now += 1
    assert await error_of(rig, TODAY, headers=paid) == (402, "token_expired")
    assert len(rig.upstream.seen) == 1


async def test_an_optional_route_serves_everybody_and_names_who_paid(rig: Rig) -> None:
    assert (await rig.get("/open/x"))[0] == 200
    assert rig.upstream.header("x-l402-token-id") is None
    assert (await rig.get("/open/x", headers={"Authorization": "L402 AAAA:" + "0" * 64}))[0] == 200
    assert rig.upstream.header("x-l402-token-id") is None


FORGERIES: dict[str, tuple[Any, str]] = {
    "no colon": (lambda token, preimage: "L402 abc", "malformed_credential"),
    "extra colon": (lambda token, preimage: f"L402 {token}:{preimage}:x", "malformed_credential"),
    "short preimage": (lambda token, preimage: f"L402 {token}:{preimage[:-1]}", "malformed_credential"),
    "other preimage": (lambda token, preimage: f"L402 {token}:{'0' * 64}", "invalid_preimage"),
    "junk token": (lambda token, preimage: f"L402 {'A' * 8000}:{preimage}", "malformed_credential"),
    "flipped signature": (
        lambda token, preimage: (
            "L402 " + encode_token(decode_token(token)[:-1] + bytes([decode_token(token)[-1] ^ 1])) + f":{preimage}"
        ),
        "invalid_token",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_credential_that_proves_nothing_gets_a_fresh_402_with_its_code(rig: Rig, name: str) -> None:
    forge, code = FORGERIES[name]
    offer = await rig.challenge(TODAY)
    preimage = await rig.pay(offer.invoice)
    again = await rig.challenge(TODAY, headers={"Authorization": forge(offer.macaroon, preimage)})
    assert again.body["error"] == code
    assert again.invoice != offer.invoice
    assert rig.upstream.seen == []


async def test_an_unpaid_token_is_worth_nothing_without_its_preimage(rig: Rig) -> None:
    mine, other = await rig.challenge(TODAY), await rig.challenge(TODAY)
    others_preimage = await rig.pay(other.invoice)
    credential = {"Authorization": f"L402 {mine.macaroon}:{others_preimage}"}
    assert await error_of(rig, TODAY, headers=credential) == (402, "invalid_preimage")


async def test_two_different_valid_credentials_are_ambiguous(rig: Rig) -> None:
    one, two = await rig.buy(TODAY), await rig.buy(TODAY)
    headers = [("Authorization", one), ("Authorization", two)]
    assert await error_of(rig, TODAY, headers=headers) == (400, "ambiguous_authorization")


async def test_revocation_reaches_a_running_gateway_and_outlives_its_caches(rig: Rig) -> None:
    paid = {"Authorization": await rig.buy(TODAY)}
    assert (await rig.get(TODAY, headers=paid))[0] == 200
    token = paid["Authorization"].split()[1].split(":")[0]
    assert await rig.gateway.store.revoke(key_of(token), now=int(rig.clock()))
    async with asyncio.timeout(5):
        while (outcome := await rig.get(TODAY, headers=paid))[0] == 200:
            await asyncio.sleep(0.05)
    assert (outcome[0], json.loads(outcome[2])["error"]) == (402, "token_revoked")


async def test_with_the_node_down_paid_tokens_are_served_and_new_challenges_are_503(rig: Rig) -> None:
    paid = {"Authorization": await rig.buy(TODAY)}
    fresh = {"Authorization": await rig.buy(TODAY)}
    rig.node.faults = Faults(down=True)
    status, headers, body = await rig.get(TODAY)
    assert (status, json.loads(body)) == (503, {"error": "payments_unavailable"})
    assert headers["Retry-After"] == "5"
    assert "WWW-Authenticate" not in headers
    assert (await rig.get(TODAY, headers=paid))[0] == 200
    assert (await rig.get(TODAY, headers=fresh))[0] == 200
    assert len(rig.upstream.seen) == 2


@pytest.mark.parametrize("fault", ["wrong_amount", "wrong_hash"])
async def test_an_invoice_that_is_not_what_was_asked_for_is_never_sent_on(rig: Rig, fault: str) -> None:
    rig.node.faults = Faults(**{fault: True})
    status, headers, body = await rig.get(TODAY)
    assert (status, json.loads(body)) == (503, {"error": "payments_unavailable"})
    assert "WWW-Authenticate" not in headers
    assert b"lnbcrt" not in body


async def test_strict_asks_for_the_settlement_before_the_first_use(tmp_path: Path) -> None:
    async with running_rig(tmp_path, lightning=", strict: true") as rig:
        rig.node.faults = Faults(settle_late=3600)
        late = {"Authorization": await rig.buy(TODAY)}
        assert await error_of(rig, TODAY, headers=late) == (402, "payment_not_settled")
        rig.node.faults = Faults(down=True)
        assert await error_of(rig, TODAY, headers=late) == (503, "payments_unavailable")
        rig.node.faults = Faults()
        settled = {"Authorization": await rig.buy(TODAY)}
        assert (await rig.get(TODAY, headers=settled))[0] == 200
        assert len(rig.upstream.seen) == 1


async def test_tokens_and_revocations_survive_a_restart(tmp_path: Path) -> None:
    async with running_rig(tmp_path) as rig:
        paid = {"Authorization": await rig.buy(TODAY)}
        unpaid = await rig.challenge(TODAY)
    async with running_rig(tmp_path) as rig:
        assert (await rig.get(TODAY, headers=paid))[0] == 200
        preimage = await rig.pay(unpaid.invoice)
        credential = {"Authorization": f"L402 {unpaid.macaroon}:{preimage}"}
        assert (await rig.get(TODAY, headers=credential))[0] == 200


async def test_the_401_switch_turns_forged_and_malformed_credentials_into_401_with_a_challenge(tmp_path: Path) -> None:
    async with running_rig(tmp_path, top="invalid_credential_status: 401") as rig:
        status, headers, _ = await rig.get(TODAY, headers={"Authorization": "L402 abc"})
        assert status == 401
        assert headers["WWW-Authenticate"].startswith("L402 macaroon=")
        assert (await rig.get(TODAY))[0] == 402


async def test_head_shows_the_price_and_makes_no_invoice(rig: Rig) -> None:
    status, headers, body = await rig.get(TODAY, method="HEAD")
    assert (status, headers["L402-Price"], body) == (402, "1500 msat", b"")
    assert "WWW-Authenticate" not in headers


async def test_a_challenge_is_not_cached_and_readable_by_browsers(rig: Rig) -> None:
    _, headers, _ = await rig.get(TODAY)
    assert headers["Cache-Control"] == "no-store"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "WWW-Authenticate" in headers["Access-Control-Expose-Headers"]


async def test_a_browsers_preflight_is_answered_without_the_upstream(rig: Rig) -> None:
    preflight = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization, accept-authenticate",
    }
    status, headers, _ = await rig.get(TODAY, method="OPTIONS", headers=preflight)
    assert status == 204
    assert headers["Access-Control-Allow-Headers"] == "authorization, accept-authenticate"
    assert rig.upstream.seen == []
    assert (await rig.get(TODAY, method="OPTIONS"))[0] == 402


async def test_a_paid_answer_is_kept_from_shared_caches_and_readable_by_browsers(rig: Rig) -> None:
    paid = {"Authorization": await rig.buy(TODAY), "Origin": "https://shop.example"}
    _, headers, _ = await rig.get(TODAY, headers=paid)
    assert "Authorization" in headers["Vary"]
    assert headers["Cache-Control"] == "private"
    assert headers["Access-Control-Allow-Origin"] == "*"


async def test_a_path_outside_every_service_is_404_and_never_forwarded(rig: Rig) -> None:
    assert await error_of(rig, "/elsewhere") == (404, "not_found")
    assert rig.upstream.seen == []


async def test_a_large_unpaid_upload_is_answered_before_it_is_read(rig: Rig) -> None:
    reader, writer = await asyncio.open_connection(*rig.gateway.address)
    head = b"POST /weather/today HTTP/1.1\r\nHost: x\r\nContent-Length: 268435456\r\nExpect: 100-continue\r\n\r\n"
    writer.write(head)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 402 ")
    assert b"connection: close" in head.lower()
    writer.close()
    await writer.wait_closed()
    status, _, body = await rig.get(TODAY, method="POST", data=b"y" * 10_000)
    assert (status, json.loads(body)["error"]) == (402, "payment_required")
    assert rig.upstream.seen == []


async def test_expect_100_continue_is_honoured_once_paid(rig: Rig) -> None:
    paid = await rig.buy(TODAY)
    reader, writer = await asyncio.open_connection(*rig.gateway.address)
    writer.write(
        f"POST {TODAY} HTTP/1.1\r\nHost: x\r\nAuthorization: {paid}\r\n"
        "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    writer.write(b"hello")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await writer.wait_closed()
    assert rig.upstream.seen[-1][3] == b"hello"
    assert rig.upstream.header("expect") is None


async def test_only_trusted_proxies_may_name_the_client(tmp_path: Path) -> None:
    claimed = {"X-Forwarded-For": "203.0.113.9"}
    async with running_rig(tmp_path) as rig:
        await rig.get("/weather/status", headers=claimed)
        assert rig.upstream.header("x-forwarded-for") == "127.0.0.1"
    async with running_rig(tmp_path, top="trusted_proxies: [127.0.0.0/8]") as rig:
        await rig.get("/weather/status", headers=claimed)
        assert rig.upstream.header("x-forwarded-for") == "203.0.113.9, 127.0.0.1"
        assert '"client": "203.0.113.9"' in rig.log.getvalue()


FORWARDED = """
  - name: trusting
    match: {path: /v1/**}
    upstream: UPSTREAM
    price: 2 sat
    strip_prefix: /v1
    prefix: /api
    forward_credentials: true
    request_headers: {X-Api-Key: key-of-the-upstream}
"""


async def test_credentials_reach_the_upstream_only_where_the_configuration_says_so(tmp_path: Path) -> None:
    async with running_rig(tmp_path, services=FORWARDED) as rig:
        rig.watch_for_leaks = False
        paid = await rig.buy("/v1/x")
        assert (await rig.get("/v1/x?a=%2F&b", headers={"Authorization": paid, "X-Api-Key": "guess"}))[0] == 200
        assert rig.upstream.header("authorization") == paid
        assert rig.upstream.seen[-1][1] == "/api/x?a=%2F&b"
        assert rig.upstream.header("x-api-key") == "key-of-the-upstream"


async def test_other_schemes_beside_l402_are_the_upstreams_own_business(rig: Rig) -> None:
    paid = await rig.buy(TODAY)
    headers = [("Authorization", "Bearer abc"), ("Authorization", paid)]
    assert (await rig.get(TODAY, headers=headers))[0] == 200
    assert rig.upstream.header("authorization") == "Bearer abc"


async def test_the_upstream_learns_the_host_and_port_that_the_client_asked_for(rig: Rig) -> None:
    await rig.get("/weather/status", headers={"Host": "Shop.example:8402"})
    assert rig.upstream.header("x-forwarded-host") == "Shop.example:8402"
    assert rig.upstream.header("host") == rig.upstream.url.removeprefix("http://")


async def test_a_request_that_cannot_be_read_is_logged_with_its_client(rig: Rig) -> None:
    await rig.get("/weather/status", headers={"Host": "a b"})
    assert '"client": "127.0.0.1"' in rig.log.getvalue()
