from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from gateway.client import Source
from gateway.errors import BuyerError
from tests.client.seller import SAT, Seller, running_buyer, running_seller


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Seller]:
    folder = tmp_path / "other"
    folder.mkdir()
    async with running_seller(folder) as seller:
        seller.prices = {"/paid": ("other", "default", SAT)}
        yield seller


def _redirect(location: str, status: int = 302) -> web.Response:
    return web.Response(status=status, headers={"Location": location})


async def test_a_redirect_within_the_origin_is_followed_and_paid_where_it_ends(seller: Seller) -> None:
    seller.answers["/old"] = lambda: _redirect("weather/now")
    async with running_buyer(seller) as buyer, buyer.get(f"{seller.base}/old") as answer:
        assert (answer.status, answer.purchase.source) == (200, Source.PAID)


async def test_a_redirect_to_another_origin_is_followed_without_credentials(seller: Seller, other: Seller) -> None:
    async with running_buyer(seller) as buyer:
        async with buyer.get(f"{seller.base}/weather/now"):
            pass
        seller.answers["/weather/now"] = lambda: _redirect(f"{other.base}/free")
        secrets = {"Authorization": "Bearer app", "Cookie": "a=b", "X-Api-Key": "k", "Accept": "text/plain"}
        async with buyer.get(f"{seller.base}/weather/now", headers=secrets) as answer:
            assert await answer.read() == b"free:"
    (seen,) = other.seen
    assert seen.authorizations == ()
    assert {"Cookie", "X-Api-Key"}.isdisjoint(seen.headers)
    assert seen.headers["Accept"] == "text/plain"


async def test_nothing_is_paid_where_a_redirect_to_another_origin_leads(seller: Seller, other: Seller) -> None:
    seller.answers["/away"] = lambda: _redirect(f"{other.base}/paid")
    async with running_buyer(seller) as buyer:
        with pytest.raises(BuyerError, match=other.base) as caught:
            async with buyer.get(f"{seller.base}/away"):
                pass
    assert caught.value.code == "redirect_asks_payment"
    assert await other.payments() == 0


async def test_a_way_back_home_over_another_origin_is_not_trusted_either(seller: Seller, other: Seller) -> None:
    seller.answers["/away"] = lambda: _redirect(f"{other.base}/back")
    other.answers["/back"] = lambda: _redirect(f"{seller.base}/home")
    seller.answers["/home"] = lambda: _redirect("/weather/now")
    async with running_buyer(seller) as buyer:
        with pytest.raises(BuyerError) as caught:
            async with buyer.get(f"{seller.base}/away"):
                pass
    assert caught.value.code == "redirect_asks_payment"
    assert await seller.payments() == 0


async def test_one_fetch_pays_at_most_once_however_it_is_redirected(seller: Seller) -> None:
    seller.paid_answers["/weather/now"] = lambda: _redirect("/maps/now")
    async with running_buyer(seller) as buyer:
        with pytest.raises(BuyerError, match="after a redirect") as caught:
            async with buyer.get(f"{seller.base}/weather/now"):
                pass
        assert (caught.value.code, await seller.payments()) == ("still_unpaid", 1)
        async with buyer.get(f"{seller.base}/weather/now") as answer:
            assert answer.purchase.price_msat == 5 * SAT, "the next fetch has a token for the first and buys the second"


async def test_what_was_paid_before_a_redirect_is_reported_after_it(seller: Seller) -> None:
    seller.paid_answers["/weather/now"] = lambda: _redirect("/free")
    async with running_buyer(seller) as buyer, buyer.get(f"{seller.base}/weather/now") as answer:
        assert (await answer.read(), answer.purchase.price_msat) == (b"free:", 10 * SAT)


async def test_a_request_with_a_body_is_not_redirected(seller: Seller) -> None:
    seller.answers["/old"] = lambda: _redirect("/free", 307)
    async with running_buyer(seller) as buyer, buyer.fetch("POST", f"{seller.base}/old", data=b"x") as answer:
        assert answer.status == 307
    assert len(seller.seen) == 1


async def test_redirects_without_end_are_an_error(seller: Seller) -> None:
    seller.answers["/loop"] = lambda: _redirect("/loop")
    async with running_buyer(seller) as buyer:
        with pytest.raises(BuyerError) as caught:
            async with buyer.get(f"{seller.base}/loop"):
                pass
    assert caught.value.code == "too_many_redirects"
    assert len(seller.seen) == 6


@pytest.mark.parametrize("location", ["ftp://x/", "http://[", "http://user:pw@127.0.0.1/"])
async def test_a_redirect_to_what_is_no_url_is_an_error(seller: Seller, location: str) -> None:
    seller.answers["/odd"] = lambda: _redirect(location)
    async with running_buyer(seller) as buyer:
        with pytest.raises(BuyerError) as caught:
            async with buyer.get(f"{seller.base}/odd"):
                pass
    assert caught.value.code == "bad_redirect"


async def test_a_redirect_without_a_target_is_an_answer(seller: Seller) -> None:
    seller.answers["/odd"] = lambda: web.Response(status=302)
    async with running_buyer(seller) as buyer, buyer.get(f"{seller.base}/odd") as answer:
        assert answer.status == 302
