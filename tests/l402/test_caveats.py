from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import CredentialError, Fault
from gateway.l402 import caveats
from gateway.l402.amounts import MAX_MSAT
from gateway.l402.caveats import Caveat

HOSTILE_NAMES = ["", "a,b", "a:0", "a=b", "a:0,b", "a b", "a\n", "\x00", "A", "é", "a" * 65, "a/../b", "a;b", "٣"]
"""What a request could smuggle in if a name were taken from one."""


@pytest.mark.parametrize(
    ("raw", "condition", "value"),
    [
        (b"services=svc:0", "services", "svc:0"),
        (b"expiration=1337=", "expiration", "1337="),
        (b"a==", "a", "="),
        (b"a=", "a", ""),
        (b"=b", "", "b"),
        ("ort=Zürich".encode(), "ort", "Zürich"),
        (b"account = 12345", "account ", " 12345"),
    ],
)
def test_L60_a_caveat_is_split_at_its_first_equals_sign(raw: bytes, condition: str, value: str) -> None:
    assert Caveat.decode(raw) == Caveat(condition, value)


@pytest.mark.parametrize("raw", [b"expiration:1337", b"invalid", b"", b"\xff\xfe", b"\xffa=b"])
def test_L60_what_has_no_readable_condition_is_no_caveat(raw: bytes) -> None:
    assert Caveat.decode(raw) is None


def test_a_value_of_foreign_bytes_is_never_a_value_of_a_known_condition() -> None:
    caveat = Caveat.decode(b"services=svc:0,\xff")
    assert caveat is not None
    assert caveat.condition == "services"
    with pytest.raises(CredentialError):
        caveats.read_services(caveat.value)


@given(st.text(), st.text())
def test_whatever_caveat_is_written_reads_back_the_same_or_is_refused(condition: str, value: str) -> None:
    try:
        raw = Caveat(condition, value).encode()
    except ValueError:
        return
    assert Caveat.decode(raw) == Caveat(condition, value)
    assert len(raw) <= caveats.MAX_CAVEAT_BYTES


def test_a_caveat_has_at_most_512_bytes() -> None:
    assert len(Caveat("a", "b" * 510).encode()) == 512
    with pytest.raises(ValueError, match="512"):
        Caveat("a", "b" * 511).encode()


def test_the_repr_of_a_preimage_caveat_hides_the_preimage() -> None:
    secret = "5e" * 32
    assert secret not in repr(Caveat("preimage", secret))
    assert repr(Caveat("services", "svc:0")) == "Caveat(condition='services', value='svc:0')"


def test_L61_services_are_written_as_name_and_tier_pairs() -> None:
    assert caveats.services_caveat([("weather", 0)]) == "services=weather:0"
    assert caveats.services_caveat([("a", 0), ("b-2_c", 255)]) == "services=a:0,b-2_c:255"
    assert caveats.read_services("a:0,b-2_c:255") == {"a:0", "b-2_c:255"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (caveats.capabilities_caveat("svc", ["read", "write"]), "svc_capabilities=read,write"),
        (caveats.valid_until_caveat("svc", 1_900_000_000), "svc_valid_until=1900000000"),
        (caveats.route_caveat(["default"]), "gw_route=default"),
        (caveats.route_caveat(["a", "b"]), "gw_route=a,b"),
        (caveats.price_caveat(1500), "gw_price_msat=1500"),
        (caveats.preimage_caveat(bytes(range(32))), "preimage=" + bytes(range(32)).hex()),
    ],
)
def test_what_we_mint_is_spelled_as_documented(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_no_name_can_inject_into_a_caveat(name: str) -> None:
    assert not caveats.is_name(name)
    assert not caveats.is_service_name(name)
    builds: list[Callable[[], str]] = [
        lambda: caveats.services_caveat([(name, 0)]),
        lambda: caveats.capabilities_caveat(name, ["read"]),
        lambda: caveats.capabilities_caveat("svc", [name]),
        lambda: caveats.valid_until_caveat(name, 1),
        lambda: caveats.route_caveat([name]),
    ]
    for build in builds:
        with pytest.raises(ValueError):
            build()


@given(st.text(), st.integers())
def test_a_services_caveat_reads_back_as_exactly_its_pair_or_is_refused(name: str, tier: int) -> None:
    try:
        text = caveats.services_caveat([(name, tier)])
    except ValueError:
        return
    assert caveats.read_services(text.removeprefix("services=")) == {f"{name}:{tier}"}


@pytest.mark.parametrize("name", ["gw", "gw_", "gw_route", "gw_price"])
def test_a_service_may_not_take_our_namespace(name: str) -> None:
    assert caveats.is_name(name)
    assert not caveats.is_service_name(name)
    with pytest.raises(ValueError, match="gw"):
        caveats.services_caveat([(name, 0)])


@pytest.mark.parametrize("name", ["gwx", "gw-a", "weather", "a", "0", "a" * 64])
def test_ordinary_service_names_are_free(name: str) -> None:
    assert caveats.is_service_name(name)


@pytest.mark.parametrize(
    "value",
    ["", ":0", "a", "a:", "a:b", ",,", "a:0,", ",a:0", "a:256", "a:-1", "a:00", "a:+1", "A:0", "a:0 ", "a:٣", "a:0\n"],
)
def test_L70_an_unreadable_services_list_is_refused(value: str) -> None:
    with pytest.raises(CredentialError) as caught:
        caveats.read_services(value)
    assert caught.value.fault is Fault.INVALID_CAVEAT


@pytest.mark.parametrize(
    "value", ["", "abc", "+1", "-1", "1e9", "1.0", "0x1", " 1", "1 ", "1_0", "٣", "１", "9" * 13, "NaN", "1\n"]
)
def test_L70_a_time_or_price_that_is_no_plain_number_is_refused(value: str) -> None:
    with pytest.raises(CredentialError) as caught:
        caveats.read_time(value)
    assert caught.value.fault is Fault.INVALID_CAVEAT
    with pytest.raises(CredentialError):
        caveats.read_price(value if value != "9" * 13 else str(MAX_MSAT + 1))


@pytest.mark.parametrize("value", ["", "a,", "a,,b", "a b", "A", "a=b", "a" * 65])
def test_L70_an_unreadable_list_of_names_is_refused(value: str) -> None:
    with pytest.raises(CredentialError):
        caveats.read_names(value)


@pytest.mark.parametrize("value", ["", "ab", "0" * 63, "0" * 65, "g" * 64, "0x" + "0" * 62, " " + "0" * 63])
def test_L70_a_preimage_that_is_not_32_bytes_of_hex_is_refused(value: str) -> None:
    with pytest.raises(CredentialError):
        caveats.read_preimage(value)


def test_numbers_at_their_bounds_are_read() -> None:
    assert caveats.read_time("999999999999") == 999_999_999_999
    assert caveats.read_time("0") == 0
    assert caveats.read_price(str(MAX_MSAT)) == MAX_MSAT


@pytest.mark.parametrize(
    "build",
    [
        lambda: caveats.services_caveat([]),
        lambda: caveats.services_caveat([("a", 256)]),
        lambda: caveats.services_caveat([("a", -1)]),
        lambda: caveats.services_caveat([("a" * 64, 0)] * 9),
        lambda: caveats.capabilities_caveat("svc", []),
        lambda: caveats.route_caveat([]),
        lambda: caveats.valid_until_caveat("svc", -1),
        lambda: caveats.valid_until_caveat("svc", 10**12),
        lambda: caveats.price_caveat(-1),
        lambda: caveats.price_caveat(MAX_MSAT + 1),
        lambda: caveats.preimage_caveat(bytes(31)),
    ],
)
def test_what_could_not_be_verified_later_is_not_written(build: Callable[[], str]) -> None:
    with pytest.raises(ValueError):
        build()
