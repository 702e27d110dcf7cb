from __future__ import annotations

import base64
import hashlib
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client import Budget, Source
from gateway.client.offers import read_offer
from gateway.errors import BuyerError, ChallengeError, GatewayError, InvoiceError
from gateway.l402.amounts import Msat
from gateway.l402.identifier import Identifier
from gateway.l402.minting import mint
from gateway.lightning.bolt11_signing import Draft, NodeKey
from gateway.lightning.payer import Payment
from gateway.lightning.simulated import SimulatedPayer
from tests.client.seller import SAT, CountingPayer, Seller, running_buyer

NOW = 1_800_000_000
KEY = NodeKey(bytes(31) + b"\x07")
HASH = hashlib.sha256(b"preimage").digest()


def _invoice(amount: int | None = 10 * SAT, *, network: str = "regtest", age: int = 0, what: str = "tea") -> str:
    return KEY.sign(
        Draft(
            network=network,
            amount_msat=None if amount is None else Msat(amount),
            payment_hash=HASH,
            payment_secret=bytes(32),
            description=what,
            timestamp=NOW - age,
            expiry_s=600,
        )
    )


def _token(payment_hash: bytes = HASH, caveats: tuple[str, ...] = ("services=tea:0",)) -> str:
    raw = mint(root_key=bytes(32), identifier=Identifier(payment_hash, bytes(32)).encode(), caveats=caveats)
    return base64.b64encode(raw).decode()


TOKEN, INVOICE = _token(), _invoice()

FORMS = {
    "universal": f'L402 macaroon="{TOKEN}", invoice="{INVOICE}", version="0", token="{TOKEN}"',
    "of 2023": f'L402 macaroon="{TOKEN}", invoice="{INVOICE}"',
    "of 2026": f'L402 version="0", token="{TOKEN}", invoice="{INVOICE}"',
    "old name, other order": f'LSAT invoice="{INVOICE}",macaroon="{TOKEN}"',
    "after another scheme": f'Basic realm="x", L402 macaroon="{TOKEN}", invoice="{INVOICE}"',
    "upper-case invoice": f'l402 macaroon="{TOKEN}", invoice="{INVOICE.upper()}"',
}


@pytest.mark.parametrize("line", FORMS.values(), ids=FORMS.keys())
def test_every_deployed_form_of_the_challenge_is_understood(line: str) -> None:
    offer = read_offer([line], networks={"regtest"}, now=NOW)
    assert (offer.price_msat, offer.payment_hash, offer.network) == (10 * SAT, HASH, "regtest")
    assert (offer.macaroon, offer.scope, offer.description) == (TOKEN, ("services=tea:0",), "tea")


FORGED = INVOICE[:40] + ("p" if INVOICE[40] == "q" else "q") + INVOICE[41:]
MALFORMED = {
    "nothing": "",
    "another scheme": 'Basic realm="api"',
    "no parameters": "L402",
    "no invoice": f'L402 macaroon="{TOKEN}"',
    "no token": f'L402 invoice="{INVOICE}"',
    "empty token": f'L402 macaroon="", invoice="{INVOICE}"',
    "empty invoice": f'L402 macaroon="{TOKEN}", invoice=""',
    "token with a line break": f'L402 macaroon="a\r\nX: y", invoice="{INVOICE}"',
    "token with a space": f'L402 macaroon="a b", invoice="{INVOICE}"',
    "token with a colon": f'L402 macaroon="a:b", invoice="{INVOICE}"',
    "two tokens that differ": f'L402 macaroon="{TOKEN}", token="AAAA", invoice="{INVOICE}"',
    "not an invoice": f'L402 macaroon="{TOKEN}", invoice="lnbcrt1"',
    "invoice cut short": f'L402 macaroon="{TOKEN}", invoice="{INVOICE[:-9]}"',
    "invoice with one character changed": f'L402 macaroon="{TOKEN}", invoice="{FORGED}"',
    "unknown network": f'L402 macaroon="{TOKEN}", invoice="lnxx1{INVOICE[9:]}"',
}


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_challenge_is_refused(line: str) -> None:
    with pytest.raises((ChallengeError, InvoiceError)):
        read_offer([line], networks={"regtest"}, now=NOW)


async def test_a_malformed_challenge_is_never_paid(seller: Seller) -> None:
    wallet = CountingPayer(_Unreachable())
    async with running_buyer(seller, payer=wallet) as buyer:
        for line in MALFORMED.values():
            if "\n" in line:
                continue  # no server can send it
            seller.challenge = lambda _token, _invoice, line=line: line
            with pytest.raises((ChallengeError, InvoiceError)):
                async with buyer.get(f"{seller.base}/weather/now"):
                    pass
    assert wallet.asked == []


UNTRUSTED = {
    "amountless_invoice": (TOKEN, _invoice(None)),
    "expired_invoice": (TOKEN, _invoice(age=600)),
    "foreign_network": (TOKEN, _invoice(network="mainnet")),
    "hash_mismatch": (_token(bytes(32)), INVOICE),
}


@pytest.mark.parametrize("code", UNTRUSTED)
def test_an_invoice_that_must_not_be_paid_is_refused(code: str) -> None:
    token, invoice = UNTRUSTED[code]
    with pytest.raises(BuyerError) as caught:
        read_offer([f'L402 macaroon="{token}", invoice="{invoice}"'], networks={"regtest"}, now=NOW)
    assert caught.value.code == code


def test_an_invoice_is_good_until_the_second_before_it_expires() -> None:
    offer = read_offer([f'L402 macaroon="{TOKEN}", invoice="{_invoice(age=599)}"'], networks={"regtest"}, now=NOW)
    assert offer.expires_at == NOW + 1


@pytest.mark.parametrize("code", UNTRUSTED)
async def test_a_server_that_sends_such_an_invoice_is_not_paid(seller: Seller, code: str) -> None:
    token, invoice = UNTRUSTED[code]
    seller.challenge = lambda _token, _invoice: f'L402 macaroon="{token}", invoice="{invoice}"'
    wallet = CountingPayer(_Unreachable())
    async with running_buyer(seller, payer=wallet, clock=lambda: NOW) as buyer:
        with pytest.raises(BuyerError) as caught:
            async with buyer.get(f"{seller.base}/weather/now"):
                pass
    assert (caught.value.code, wallet.asked) == (code, [])


class _Unreachable:
    async def pay(self, bolt11: str, *, max_fee_msat: Msat, timeout_s: float) -> Payment:
        raise AssertionError("nothing may be paid here")

    async def aclose(self) -> None:
        pass


def test_a_token_of_another_format_is_allowed_and_opaque() -> None:
    opaque = base64.b64encode(secrets.token_bytes(40)).decode()
    offer = read_offer([f'L402 token="{opaque}", invoice="{INVOICE}"'], networks={"regtest"}, now=NOW)
    assert (offer.macaroon, offer.scope, offer.valid_until) == (opaque, (), None)


BOUNDS = [
    ((), None),
    (("a_valid_until=20",), 20),
    (("a_valid_until=20", "a_valid_until=10"), 10),
    (("a_valid_until=20", "b_valid_until=30"), 30),
    (("a_valid_until=soon",), None),
]


@pytest.mark.parametrize(("caveats", "bound"), BOUNDS)
def test_the_signed_bound_is_when_the_last_service_ends(caveats: tuple[str, ...], bound: int | None) -> None:
    line = f'L402 macaroon="{_token(caveats=("services=a:0,b:0", *caveats))}", invoice="{INVOICE}"'
    offer = read_offer([line], networks={"regtest"}, now=NOW)
    assert (offer.valid_until, offer.scope) == (bound, ("services=a:0,b:0",))


def test_a_description_cannot_write_to_the_terminal() -> None:
    line = f'L402 macaroon="{TOKEN}", invoice="{_invoice(what="a" + chr(27) + "[2J" + chr(10))}"'
    assert read_offer([line], networks={"regtest"}, now=NOW).description == "a?[2J?"


@given(st.lists(st.text(max_size=200) | st.sampled_from(sorted(FORMS.values())), max_size=4))
def test_no_header_makes_the_reader_fail_in_another_way(lines: list[str]) -> None:
    try:
        offer = read_offer(lines, networks={"regtest"}, now=NOW)
    except GatewayError:
        return
    assert offer.price_msat > 0


PRICES = [
    (10 * SAT, None, None),
    (10 * SAT - 1, None, "too_expensive"),
    (100 * SAT, 20 * SAT, None),
    (100 * SAT, 20 * SAT - 1, "over_budget"),
    (0, None, "too_expensive"),
]


@pytest.mark.parametrize(("max_price", "total", "code"), PRICES)
async def test_a_budget_is_kept_to_the_millisatoshi(
    seller: Seller, max_price: int, total: int | None, code: str | None
) -> None:
    budget = Budget(Msat(max_price), max_fee_msat=Msat(10 * SAT), total_msat=None if total is None else Msat(total))
    async with running_buyer(seller, budget=budget) as buyer:
        if code is None:
            async with buyer.get(f"{seller.base}/weather/now") as answer:
                assert answer.purchase.source is Source.PAID
            assert budget.spent_msat == 10 * SAT, "the reserved fee was not used"
        else:
            with pytest.raises(BuyerError) as caught:
                async with buyer.get(f"{seller.base}/weather/now"):
                    pass
            assert (caught.value.code, budget.spent_msat) == (code, 0)
            assert await seller.payments() == 0


async def test_the_total_counts_over_several_purchases(seller: Seller) -> None:
    budget = Budget(Msat(100 * SAT), max_fee_msat=Msat(0), total_msat=Msat(15 * SAT))
    async with running_buyer(seller, budget=budget) as buyer:
        async with buyer.get(f"{seller.base}/weather/now"):
            pass
        async with buyer.get(f"{seller.base}/maps/now"):
            pass
        with pytest.raises(BuyerError, match="0 sat of the budget are left"):
            async with buyer.get(f"{seller.base}/weather/history"):
                pass
    assert budget.spent_msat == 15 * SAT


@pytest.mark.parametrize("wrong", [{"max_price_msat": -1}, {"max_price_msat": 1, "max_fee_msat": -1}])
def test_a_negative_budget_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="never negative"):
        Budget(**{name: Msat(value) for name, value in wrong.items()})


async def test_the_fee_limit_reaches_the_wallet(seller: Seller) -> None:
    wallet = CountingPayer(SimulatedPayer(seller.node.endpoint))
    budget = Budget(Msat(100 * SAT), max_fee_msat=Msat(1_234))
    async with running_buyer(seller, budget=budget, payer=wallet) as buyer, buyer.get(f"{seller.base}/weather/now"):
        pass
    assert wallet.max_fees == [1_234]
