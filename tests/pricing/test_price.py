"""Prices as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.l402.amounts import MAX_MSAT, Msat
from gateway.pricing.price import format_price, parse_price


@pytest.mark.parametrize(
    ("text", "msat"),
    [("10 sat", 10_000), ("10sat", 10_000), ("1500 msat", 1_500), ("1 msat", 1), ("free", 0), ("0", 0)],
)
def test_a_written_price_is_read_in_millisatoshi(text: str, msat: int) -> None:
    assert parse_price(text) == msat


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10", "a number without its unit"),
        ("00", "a number without its unit"),
        ("0 sat", "an amount of nothing"),
        ("0 msat", "an amount of nothing"),
        ("0.5 sat", "not a whole amount, or more than all bitcoin"),
        ("-1 sat", "not a whole amount, or more than all bitcoin"),
        ("", "not a whole amount, or more than all bitcoin"),
        ("Free", "not a whole amount, or more than all bitcoin"),
        ("gratis", "not a whole amount, or more than all bitcoin"),
        ("10 satoshi", "a unit other than sat or msat"),
        ("10 sats", "a unit other than sat or msat"),
        ("5USD", "a unit other than sat or msat"),
        ("10 eur", "a unit other than sat or msat"),
        ("1_000 sat", "not a whole amount, or more than all bitcoin"),
        ("1,000 sat", "not a whole amount, or more than all bitcoin"),
        ("010 sat", "not a whole amount, or more than all bitcoin"),
        ("10 sat\n", "not a whole amount, or more than all bitcoin"),
        ("\u0661\u0660 sat", "not a whole amount, or more than all bitcoin"),
        ("2100000000000001 sat", "not a whole amount, or more than all bitcoin"),
    ],
)
def test_anything_else_is_refused_and_never_free(text: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_price(text)
    assert str(refusal.value) == message


@given(st.integers(0, MAX_MSAT))
def test_every_price_is_read_back_as_it_was_written(msat: int) -> None:
    assert parse_price(format_price(Msat(msat))) == msat


@given(st.text(max_size=40))
def test_no_text_makes_a_request_free_but_the_two_words_for_it(text: str) -> None:
    try:
        price = parse_price(text)
    except ValueError:
        return
    assert price > 0 or text in {"free", "0"}
