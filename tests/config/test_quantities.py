"""Lengths of time, sizes, numbers and switches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.quantities import (
    is_hex,
    parse_milliseconds,
    parse_seconds,
    parse_size,
    parse_switch,
    parse_whole,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("90s", 90), ("10m", 600), ("1h", 3_600), ("7d", 604_800), ("10 m", 600), ("3650d", 315_360_000)],
)
def test_a_length_of_time_is_read_in_seconds(text: str, seconds: int) -> None:
    assert parse_seconds(text, longest="3650d") == seconds
    assert parse_milliseconds(text, longest="3650d") == seconds * 1_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "0s",
        "-1s",
        "+1s",
        "1.5h",
        "1h30m",
        "01s",
        "1 hour",
        "1S",
        "10  m",
        "1s ",
        "1s\n",
        "\u0661s",
        "9999999999s",
    ],
)
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a length of time$"):
        parse_seconds(text, longest="3650d")


def test_a_length_of_time_has_a_greatest_value_and_seconds_are_whole() -> None:
    assert parse_milliseconds("60m", longest="1h") == 3_600_000
    with pytest.raises(ValueError, match=r"^longer than 1h$"):
        parse_milliseconds("61m", longest="1h")
    with pytest.raises(ValueError, match=r"^not whole seconds$"):
        parse_seconds("1000ms", longest="1h")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000000", 1_000_000),
        ("1B", 1),
        ("1kB", 1_000),
        ("1KB", 1_000),
        ("10MB", 10_000_000),
        ("10 MB", 10_000_000),
        ("2GB", 2_000_000_000),
        ("512KiB", 524_288),
        ("1MiB", 1_048_576),
        ("1GiB", 1_073_741_824),
    ],
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1.5MB", "10mb", "10M", "1kiB", "MB", "1_000", "010", "1 B ", "1e6"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a size$"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "010", "0x1", "1_0", "256", " 1", "true", "\u0661"])
def test_what_is_no_whole_number_in_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not such a number$"):
        parse_whole(text, most=255)


@given(st.integers(0, 255))
def test_every_whole_number_in_range_is_read(number: int) -> None:
    assert parse_whole(str(number), most=255) == number


def test_switches_have_two_values_and_six_words() -> None:
    assert [parse_switch(word) for word in ("true", "yes", "ON")] == [True] * 3
    assert [parse_switch(word) for word in ("false", "no", "Off")] == [False] * 3
    for word in ("", "1", "0", "y", "n", "enabled", "none"):
        with pytest.raises(ValueError, match=r"^not a switch$"):
            parse_switch(word)


def test_hex_is_told_from_file_names() -> None:
    assert is_hex("0201" * 16)
    assert is_hex("0201036c6e64" * 20)
    for name in ("deadbeef", "0" * 65, "./" + "ab" * 40, "ab" * 31, "ab" * 40 + "\n"):
        assert not is_hex(name)


@given(st.text(max_size=30))
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    for parse in (
        parse_size,
        parse_switch,
        lambda t: parse_seconds(t, longest="7d"),
        lambda t: parse_whole(t, most=255),
    ):
        try:
            parse(text)
        except ValueError as error:
            message = str(error)
        else:
            continue
        assert len(text) < 8 or text not in message
