"""A node's invoice is sent out only if it is the one that was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvoiceMismatch
from gateway.l402.amounts import Msat
from gateway.lightning.backend import IssuedInvoice, NewInvoice
from gateway.lightning.bolt11_signing import Draft, NodeKey
from gateway.lightning.checking import check_invoice, fit_memo

KEY = NodeKey(bytes(31) + b"\x07")
NOW = 1_800_000_000
HASH = bytes(range(32))
WANTED = NewInvoice(Msat(1_500), 600, "weather")


def issued(**changes: object) -> IssuedInvoice:
    values: dict[str, object] = {
        "network": "regtest",
        "amount_msat": Msat(1_500),
        "payment_hash": HASH,
        "payment_secret": bytes(32),
        "description": "weather",
        "timestamp": NOW,
        "expiry_s": 600,
    }
    return IssuedInvoice(HASH, KEY.sign(Draft(**(values | changes))))  # type: ignore[arg-type]


def test_the_invoice_asked_for_is_returned_decoded() -> None:
    invoice = check_invoice(issued(), WANTED, network="regtest", now=NOW)
    assert (invoice.payment_hash, invoice.amount_msat, invoice.expires_at) == (HASH, 1_500, NOW + 600)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"payment_hash": bytes(32)}, "another payment hash"),
        ({"amount_msat": Msat(1_501)}, "1501 msat instead of 1500 msat"),
        ({"amount_msat": Msat(1_500_000)}, "1500000 msat instead of 1500 msat"),
        ({"amount_msat": None}, "no amount instead of 1500 msat"),
        ({"network": "mainnet"}, "network mainnet instead of regtest"),
        ({"network": "testnet"}, "network testnet instead of regtest"),
        ({"timestamp": NOW - 600}, "expired 0 s ago"),
        ({"timestamp": NOW - 86_400}, "expired 85800 s ago"),
        ({"timestamp": NOW + 61}, "expires in 661 s instead of 600 s"),
        ({"timestamp": NOW - 61}, "expires in 539 s instead of 600 s"),
        ({"expiry_s": 3_600}, "expires in 3600 s instead of 600 s"),
        ({"expiry_s": 60}, "expires in 60 s instead of 600 s"),
    ],
)
def test_another_invoice_is_an_outage_that_says_what_differs(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvoiceMismatch, match=message):
        check_invoice(issued(**changes), WANTED, network="regtest", now=NOW)


@pytest.mark.parametrize("skew", [-60, -5, 5, 60])
def test_clocks_may_differ_by_a_minute(skew: int) -> None:
    check_invoice(issued(timestamp=NOW + skew), WANTED, network="regtest", now=NOW)


@pytest.mark.parametrize("text", ["", "lnbcrt1", "not an invoice", issued().bolt11[:-1]])
def test_what_cannot_be_read_is_an_outage(text: str) -> None:
    with pytest.raises(InvoiceMismatch, match="cannot be read"):
        check_invoice(IssuedInvoice(HASH, text), WANTED, network="regtest", now=NOW)


@given(st.text(st.characters(), max_size=700))
def test_a_memo_is_cut_to_639_bytes_between_characters(text: str) -> None:
    memo = fit_memo(text)
    assert len(memo.encode()) <= 639
    assert text.encode(errors="replace").decode().startswith(memo)
    assert len(memo.encode()) >= min(len(text.encode(errors="replace")), 636)


@pytest.mark.parametrize(
    ("text", "memo"),
    [
        ("x" * 639, "x" * 639),
        ("x" * 640, "x" * 639),
        ("x" * 638 + "ü", "x" * 638),
        ("x" * 636 + "€", "x" * 636 + "€"),
        ("x" * 637 + "€", "x" * 637),
        ("\ud800", "?"),
    ],
)
def test_no_character_is_cut_in_two(text: str, memo: str) -> None:
    assert fit_memo(text) == memo
