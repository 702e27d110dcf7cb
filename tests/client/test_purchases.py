from __future__ import annotations

import asyncio
import gzip
import time
from pathlib import Path

import pytest
from aiohttp import web

from gateway.client import Answer, Budget, Buyer, FileTokenStore, MemoryTokenStore, Source, Token
from gateway.errors import BuyerError, ChallengeError, NodeUnreachable, PaymentFailed
from gateway.l402.amounts import Msat
from gateway.lightning.payer import Payment
from gateway.lightning.simulated import Faults, SimulatedPayer
from tests.client.seller import SAT, CountingPayer, Seller, running_buyer


async def _get(buyer: Buyer, url: str) -> tuple[int, bytes, Answer]:
    async with buyer.get(url) as answer:
        return answer.status, await answer.read(), answer


async def _tokens(store: MemoryTokenStore | FileTokenStore, seller: Seller) -> tuple[Token, ...]:
    return await store.load(seller.base)


async def test_a_priced_url_is_paid_once_and_answered(seller: Seller) -> None:
    async with running_buyer(seller) as buyer:
        status, body, answer = await _get(buyer, f"{seller.base}/weather/now")
    assert (status, body) == (200, b"paid /weather/now:")
    assert answer.purchase.source is Source.PAID
    assert answer.purchase.price_msat == 10 * SAT
    assert await seller.payments() == 1
    assert seller.seen[0].authorizations == ()


async def test_a_free_url_costs_nothing(seller: Seller) -> None:
    async with running_buyer(seller) as buyer:
        status, body, answer = await _get(buyer, f"{seller.base}/free")
    assert (status, body, answer.purchase.source) == (200, b"free:", Source.FREE)


async def test_the_credential_is_the_servers_token_verbatim_and_the_preimage_in_lower_case_hex(seller: Seller) -> None:
    async with running_buyer(seller) as buyer:
        await _get(buyer, f"{seller.base}/weather/now")
    (credential,) = seller.seen[-1].authorizations
    scheme, _, rest = credential.partition(" ")
    token, _, preimage = rest.partition(":")
    assert (scheme, token in seller.sold, len(preimage)) == ("L402", True, 64)
    assert preimage == preimage.lower()


async def test_a_server_that_says_lsat_is_answered_in_its_own_scheme(seller: Seller) -> None:
    seller.challenge = lambda token, invoice: f'LSAT macaroon="{token}", invoice="{invoice}"'
    async with running_buyer(seller) as buyer:
        with pytest.raises(BuyerError):  # this seller sends LSAT and understands only L402
            await _get(buyer, f"{seller.base}/weather/now")
    assert seller.seen[-1].authorizations[0].startswith("LSAT ")


async def test_L94_a_second_fetch_uses_the_stored_token_in_one_request(seller: Seller) -> None:
    async with running_buyer(seller) as buyer:
        await _get(buyer, f"{seller.base}/weather/now")
        before = len(seller.seen)
        status, _, answer = await _get(buyer, f"{seller.base}/weather/now")
    assert (status, answer.purchase.source, len(seller.seen) - before) == (200, Source.TOKEN, 1)
    assert await seller.payments() == 1


async def test_a_token_is_used_for_other_paths_of_its_service(seller: Seller) -> None:
    async with running_buyer(seller) as buyer:
        await _get(buyer, f"{seller.base}/weather/now")
        _, _, answer = await _get(buyer, f"{seller.base}/weather/tomorrow")
    assert answer.purchase.source is Source.TOKEN
    assert await seller.payments() == 1


async def test_services_of_one_host_keep_a_token_each_and_are_paid_once_each(seller: Seller) -> None:
    urls = [f"{seller.base}{path}" for path in ("/weather/now", "/maps/now", "/weather/history")]
    async with running_buyer(seller) as buyer:
        for url in urls * 3:
            status, _, _ = await _get(buyer, url)
            assert status == 200
        before = len(seller.seen)
        for url in urls:
            await _get(buyer, url)
    assert await seller.payments() == 3
    assert len(seller.seen) - before == 3, "each path finds its own token at the first attempt"


async def test_a_token_whose_paths_are_unknown_is_found_by_what_the_challenge_sells(seller: Seller) -> None:
    seller.prices["/a"] = seller.prices["/b"] = ("shop", "default", SAT)
    async with running_buyer(seller) as buyer:
        await _get(buyer, f"{seller.base}/a")
        _, _, answer = await _get(buyer, f"{seller.base}/b")
    assert answer.purchase.source is Source.TOKEN
    assert await seller.payments() == 1


async def test_ignoring_stored_tokens_buys_anew(seller: Seller) -> None:
    store = MemoryTokenStore()
    for reuse in (True, False):
        async with running_buyer(seller, store=store, reuse=reuse) as buyer:
            _, _, answer = await _get(buyer, f"{seller.base}/weather/now")
            assert answer.purchase.source is Source.PAID
    assert await seller.payments() == 2


@pytest.mark.parametrize("code", ["token_expired", "token_revoked"])
async def test_a_dead_token_is_forgotten_and_bought_anew(seller: Seller, code: str) -> None:
    store = MemoryTokenStore()
    async with running_buyer(seller, store=store) as buyer:
        await _get(buyer, f"{seller.base}/weather/now")
        (old,) = await _tokens(store, seller)
        seller.refusals[old.macaroon] = code
        status, _, answer = await _get(buyer, f"{seller.base}/weather/now")
    assert (status, answer.purchase.source) == (200, Source.PAID)
    assert old.key not in {token.key for token in await _tokens(store, seller)}


async def test_a_token_past_its_signed_bound_is_not_even_sent(seller: Seller) -> None:
    now = time.time()
    seller.valid_until = int(now) + 60
    store = MemoryTokenStore()
    async with running_buyer(seller, store=store) as buyer:
        await _get(buyer, f"{seller.base}/weather/now")
    before = len(seller.seen)
    async with running_buyer(seller, store=store, clock=lambda: now + 61) as later:
        _, _, answer = await _get(later, f"{seller.base}/weather/now")
    assert answer.purchase.source is Source.PAID
    assert seller.seen[before].authorizations == ()


async def test_parallel_fetches_of_one_url_pay_once(seller: Seller, tmp_path: Path) -> None:
    for store in (MemoryTokenStore(), FileTokenStore(tmp_path / "own" / "tokens.json")):
        before = await seller.payments()
        async with running_buyer(seller, store=store) as buyer:
            answers = await asyncio.gather(*(_get(buyer, f"{seller.base}/weather/now") for _ in range(12)))
        assert [status for status, _, _ in answers] == [200] * 12
        assert sum(answer.purchase.source is Source.PAID for _, _, answer in answers) == 1
        assert await seller.payments() - before == 1


async def test_a_402_after_payment_is_an_error_that_names_the_servers_reason_and_pays_no_more(seller: Seller) -> None:
    wallet = CountingPayer(SimulatedPayer(seller.node.endpoint))
    store = MemoryTokenStore()
    seller.challenge = lambda token, invoice: (
        seller.refusals.setdefault(token, "invalid_token") and f'L402 macaroon="{token}", invoice="{invoice}"'
    )
    async with running_buyer(seller, payer=wallet, store=store) as buyer:
        for _ in range(2):
            with pytest.raises(BuyerError, match="invalid_token") as caught:
                await _get(buyer, f"{seller.base}/weather/now")
            assert caught.value.code == "still_unpaid"
    assert len(wallet.asked) == 1, "a second run does not pay either: the first token was never accepted"
    (kept,) = await _tokens(store, seller)
    assert kept.preimage is not None, "what was paid for is kept"


async def test_a_server_that_has_not_yet_seen_the_payment_is_asked_again_not_paid_again(seller: Seller) -> None:
    seller.unsettled = 2
    async with running_buyer(seller) as buyer:
        status, _, _ = await _get(buyer, f"{seller.base}/weather/now")
    assert status == 200
    assert await seller.payments() == 1


async def test_a_post_body_is_repeated_whole(seller: Seller, tmp_path: Path) -> None:
    body = bytes(range(256)) * 2_000
    file = tmp_path / "body"
    file.write_bytes(body)
    async with running_buyer(seller) as buyer:
        for data in (body, file):
            async with buyer.fetch("POST", f"{seller.base}/maps/now", data=data) as answer:
                assert await answer.read() == b"paid /maps/now:" + body
        async with buyer.fetch("POST", f"{seller.base}/maps/now", data=b"") as answer:
            assert await answer.read() == b"paid /maps/now:"
    assert [len(seen.body) for seen in seller.seen] == [len(body), len(body), len(body), 0]
    assert all("Transfer-Encoding" not in seen.headers for seen in seller.seen)


async def test_headers_are_sent_as_given_and_another_scheme_stays_beside_the_credential(seller: Seller) -> None:
    headers = [("Authorization", "Bearer app"), ("X-Twice", "1"), ("X-Twice", "2")]
    async with running_buyer(seller) as buyer, buyer.get(f"{seller.base}/maps/now", headers=headers) as answer:
        assert answer.status == 200
    bearer, credential = seller.seen[-1].authorizations
    assert (bearer, credential[:5]) == ("Bearer app", "L402 ")
    assert "Accept-Encoding" not in seller.seen[-1].headers


async def test_a_credential_of_the_callers_own_is_replaced_by_the_one_that_was_bought(seller: Seller) -> None:
    headers = {"Authorization": "L402 stale:00"}
    async with running_buyer(seller) as buyer, buyer.get(f"{seller.base}/maps/now", headers=headers) as answer:
        assert answer.status == 200
    assert len(seller.seen[-1].authorizations) == 1


async def test_a_token_that_worked_and_is_refused_for_good_or_not_is_replaced(seller: Seller) -> None:
    store = MemoryTokenStore()
    async with running_buyer(seller, store=store) as buyer:
        await _get(buyer, f"{seller.base}/weather/now")
        (old,) = await _tokens(store, seller)
        seller.refusals[old.macaroon] = "invalid_token"
        status, _, answer = await _get(buyer, f"{seller.base}/weather/now")
    assert (status, answer.purchase.source) == (200, Source.PAID)
    assert old.key in {token.key for token in await _tokens(store, seller)}, "the server may come to its senses"


async def test_a_server_that_calls_a_fresh_token_expired_is_not_paid_twice(seller: Seller) -> None:
    def refused_at_once(token: str, invoice: str) -> str:
        seller.refusals[token] = "token_expired"
        return f'L402 macaroon="{token}", invoice="{invoice}"'

    seller.challenge = refused_at_once
    async with running_buyer(seller) as buyer:
        with pytest.raises(BuyerError, match="token_expired") as caught:
            await _get(buyer, f"{seller.base}/weather/now")
    assert (caught.value.code, await seller.payments()) == ("still_unpaid", 1)


async def test_a_compressed_answer_is_passed_on_as_it_is(seller: Seller) -> None:
    packed = gzip.compress(b"sunny")
    seller.answers["/packed"] = lambda: web.Response(body=packed, headers={"Content-Encoding": "gzip"})
    async with running_buyer(seller) as buyer:
        assert (await _get(buyer, f"{seller.base}/packed"))[1] == packed


async def test_an_answer_longer_than_wanted_and_one_cut_short_are_errors(seller: Seller) -> None:
    def cut_short() -> web.Response:
        answer = web.Response(body=b"x", headers={"Content-Length": "9"})
        answer.force_close()
        return answer

    seller.answers["/short"] = cut_short
    async with running_buyer(seller) as buyer:
        async with buyer.get(f"{seller.base}/free") as answer:
            with pytest.raises(BuyerError) as caught:
                await answer.read(4)
            assert caught.value.code == "too_large"
        async with buyer.get(f"{seller.base}/short") as answer:
            with pytest.raises(BuyerError) as caught:
                await answer.read()
            assert caught.value.code == "cut_short"


@pytest.mark.parametrize(
    ("failure", "kept"),
    [(PaymentFailed("no route"), 0), (NodeUnreachable("no answer"), 1)],
    ids=["final, so nothing is kept", "unknown, so it is kept to be finished"],
)
async def test_a_failed_payment_leaves_what_it_must(seller: Seller, failure: Exception, kept: int) -> None:
    store = MemoryTokenStore()
    wallet = CountingPayer(SimulatedPayer(seller.node.endpoint))
    wallet.failures = [failure]
    budget = Budget(Msat(100 * SAT), max_fee_msat=Msat(0))
    async with running_buyer(seller, store=store, payer=wallet, budget=budget) as buyer:
        with pytest.raises(type(failure)):
            await _get(buyer, f"{seller.base}/weather/now")
        assert budget.spent_msat == (10 * SAT if kept else 0), "what may have been paid counts"
        assert len(await _tokens(store, seller)) == kept
        status, _, answer = await _get(buyer, f"{seller.base}/weather/now")
    assert status == 200
    assert answer.purchase.source is (Source.RESUMED if kept else Source.PAID)
    assert (wallet.asked[0] == wallet.asked[1]) is bool(kept)


async def test_a_preimage_that_the_wallet_lost_is_fetched_again_without_a_second_payment(seller: Seller) -> None:
    seller.node.faults = Faults(withhold_preimage=True)
    store = MemoryTokenStore()
    async with running_buyer(seller, store=store) as buyer:
        with pytest.raises(NodeUnreachable):
            await _get(buyer, f"{seller.base}/weather/now")
        assert await seller.payments() == 1
        seller.node.faults = Faults()
        _, _, answer = await _get(buyer, f"{seller.base}/weather/now")
    assert answer.purchase.source is Source.RESUMED
    assert await seller.payments() == 1


class _LyingPayer:
    async def pay(self, bolt11: str, *, max_fee_msat: Msat, timeout_s: float) -> Payment:
        return Payment(preimage=b"\x01" * 32, fee_msat=Msat(0))

    async def aclose(self) -> None:
        pass


async def test_a_preimage_of_another_invoice_is_not_sent(seller: Seller) -> None:
    async with running_buyer(seller, payer=_LyingPayer()) as buyer:
        with pytest.raises(BuyerError) as caught:
            await _get(buyer, f"{seller.base}/weather/now")
    assert caught.value.code == "wrong_preimage"
    assert seller.paid_requests() == []


async def test_without_a_wallet_a_price_is_an_error_and_free_urls_work(seller: Seller) -> None:
    buyer = Buyer(None, budget=Budget(Msat(SAT * 100)), tokens=MemoryTokenStore(), networks={"regtest"})
    async with buyer:
        assert (await _get(buyer, f"{seller.base}/free"))[0] == 200
        with pytest.raises(BuyerError) as caught:
            await _get(buyer, f"{seller.base}/weather/now")
    assert caught.value.code == "no_wallet"


async def test_a_quote_names_the_price_sends_no_token_and_pays_nothing(seller: Seller) -> None:
    async with running_buyer(seller) as buyer:
        quote = await buyer.quote("GET", f"{seller.base}/weather/now")
        assert quote.offer is not None
        assert (quote.status, quote.offer.price_msat, quote.stored) == (402, 10 * SAT, False)
        assert await seller.payments() == 0
        await _get(buyer, f"{seller.base}/weather/now")
        before = len(seller.seen)
        assert (await buyer.quote("GET", f"{seller.base}/weather/now")).stored
        assert seller.seen[before].authorizations == ()
        assert (await buyer.quote("GET", f"{seller.base}/free")).offer is None


async def test_a_401_that_brings_a_challenge_is_paid_and_one_that_does_not_is_an_answer(seller: Seller) -> None:
    async with running_buyer(seller) as buyer:
        seller.answers["/weather/now"] = lambda: web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        assert (await _get(buyer, f"{seller.base}/weather/now"))[0] == 401
    assert await seller.payments() == 0


@pytest.mark.parametrize("wait", ["7", "soon"])
async def test_a_503_says_when_to_come_back_and_what_became_of_the_money(seller: Seller, wait: str) -> None:
    seller.answers["/down"] = lambda: web.json_response(
        {"error": "payments_unavailable"}, status=503, headers={"Retry-After": wait}
    )
    async with running_buyer(seller) as buyer:
        with pytest.raises(BuyerError, match="payments_unavailable") as caught:
            await _get(buyer, f"{seller.base}/down")
    assert caught.value.code == "server_unavailable"
    assert ("try again in 7 s" in str(caught.value)) is (wait == "7")
    assert "nothing was paid" in str(caught.value)


async def test_a_token_survives_a_server_that_fails_after_payment(seller: Seller) -> None:
    store = MemoryTokenStore()
    answers = iter([web.json_response({"error": "draining"}, status=503)])

    def paid_then_down() -> web.StreamResponse:
        del seller.answers["/weather/now"]
        return next(answers)

    async with running_buyer(seller, store=store) as buyer:
        await _get(buyer, f"{seller.base}/weather/now")
        seller.answers["/weather/now"] = paid_then_down
        with pytest.raises(BuyerError, match="the token is kept"):
            await _get(buyer, f"{seller.base}/weather/now")
        _, _, answer = await _get(buyer, f"{seller.base}/weather/now")
    assert answer.purchase.source is Source.TOKEN


async def test_a_402_without_a_challenge_is_told_apart(seller: Seller) -> None:
    seller.answers["/odd"] = lambda: web.Response(status=402)
    async with running_buyer(seller) as buyer:
        with pytest.raises(ChallengeError, match="402"):
            await _get(buyer, f"{seller.base}/odd")


async def test_a_server_that_is_not_there_is_an_error_of_the_network(seller: Seller) -> None:
    async with running_buyer(seller) as buyer:
        with pytest.raises(BuyerError) as caught:
            await _get(buyer, "http://127.0.0.1:1/")
    assert caught.value.code == "unreachable"


@pytest.mark.parametrize("url", ["ftp://x/", "nothing", "http://user:pass@x/", "http://[", "http:///x"])
async def test_what_is_no_http_url_is_refused(seller: Seller, url: str) -> None:
    async with running_buyer(seller) as buyer:
        with pytest.raises(BuyerError) as caught:
            await _get(buyer, url)
    assert caught.value.code == "bad_url"


@pytest.mark.parametrize("header", [("X", "a\r\nY: b"), ("X\n", "a"), ("Content-Length", "3"), ("Ä", "x")])
async def test_header_fields_that_would_break_the_request_are_refused(seller: Seller, header: tuple[str, str]) -> None:
    async with running_buyer(seller) as buyer:
        with pytest.raises(BuyerError) as caught:
            async with buyer.get(f"{seller.base}/free", headers=[header]):
                pass
    assert caught.value.code == "bad_header"


async def test_no_secret_is_shown_by_a_repr(seller: Seller) -> None:
    store = MemoryTokenStore()
    async with running_buyer(seller, store=store) as buyer:
        await _get(buyer, f"{seller.base}/weather/now")
    (token,) = await _tokens(store, seller)
    assert token.preimage is not None
    for secret in (token.macaroon, token.preimage.hex(), repr(token.preimage)[2:-1]):
        assert secret not in repr(token)
