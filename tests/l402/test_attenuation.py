"""Whatever a holder does to a token, alone or with the tokens of others, it opens no more than was paid for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import CredentialError, Fault
from gateway.l402.credentials import Credential
from gateway.l402.macaroon import decode_macaroon, sign
from gateway.l402.verification import Verified, verify
from tests.conftest import SCALE
from tests.l402.samples import NOW, Sold, fault_of, requirement, sell

SOLD = sell()
VALUES = [
    *("svc:0", "svc:0,a:0", "svc:1", "a:0", "read", "read,write", "write", "default", "default,x", "x"),
    *("1800003600", "1800003601", "1800000001", "1800000000", "1", "0", "1500", "1501", "1000"),
    *("", ",", "+1", "٣", "a=b", "\x00", SOLD.preimage.hex(), "00" * 32),
]
CONDITIONS = [
    *("services", "svc_capabilities", "svc_valid_until", "gw_route", "gw_price_msat", "preimage"),
    *("gw_x", "a_capabilities", "a_valid_until", "unknown", "Services", "", "svc_valid_until "),
]
BASES = [
    sell(),
    sell([]),
    sell(["services=svc:0"]),
    sell(["services=svc:0,a:0", "gw_route=default,x", "gw_price_msat=1501"]),
    sell(["svc_capabilities=read", "svc_valid_until=1800000001"]),
]
REQUIREMENTS: list[dict[str, Any]] = [
    {},
    {"capability": "read"},
    {"capability": "write"},
    {"service": "a"},
    {"tier": 1},
    {"now": NOW - 1},
    {"now": NOW + 3600},
]


def caveats_from(program: bytes) -> list[bytes]:
    """Two bytes a caveat: a condition and a value from the lists above, or the rest of the program as it is."""
    added: list[bytes] = []
    for at in range(0, len(program) - 1, 2):
        if program[at] >= 240:
            return [*added, program[at:][:512]]
        condition, value = CONDITIONS[program[at] % len(CONDITIONS)], VALUES[program[at + 1] % len(VALUES)]
        added.append(f"{condition}={value}".encode())
    return added


def with_caveats(sold: Sold, added: Sequence[bytes]) -> Sold:
    before = decode_macaroon(sold.raw)
    caveats = (*before.caveats, *added)
    return replace(
        sold, raw=replace(before, caveats=caveats, signature=sign(sold.root_key, sold.identifier, caveats)).encode()
    )


def no_wider(later: Verified, earlier: Verified) -> bool:
    lists = ("services", "capabilities", "routes")
    numbers = ("valid_until", "price_msat")
    return all(
        getattr(earlier, name) is None
        or (getattr(later, name) is not None and getattr(later, name) <= getattr(earlier, name))
        for name in (*lists, *numbers)
    )


@settings(max_examples=int(20_000 * SCALE))
@given(st.binary(min_size=2, max_size=16))
def test_L69_adding_any_caveats_never_widens_and_raises_nothing_else(program: bytes) -> None:
    before = BASES[program[0] % len(BASES)]
    after = with_caveats(before, caveats_from(program[2:]))
    wanted = REQUIREMENTS[program[1] % len(REQUIREMENTS)]
    if (fault := fault_of(after, **wanted)) is not None:
        assert fault in {Fault.INVALID_CAVEAT, Fault.SCOPE, Fault.EXPIRED, Fault.INVALID_PREIMAGE}
        return
    assert no_wider(after.verify(**wanted), before.verify(**wanted))


def test_the_widening_test_can_fail() -> None:
    wide, narrow = sell(["services=svc:0"]).verify(), sell(["services=svc:0", "gw_price_msat=1"]).verify()
    assert no_wider(narrow, wide)
    assert not no_wider(wide, narrow)


def test_only_the_right_token_with_the_right_preimage_for_the_right_service_gets_in() -> None:
    """Tokens, preimages, root keys and services recombined: the accepted set is exactly the sold one."""
    sold = [
        sell([f"services=s{number % 5}:{number % 2}", f"gw_price_msat={number}"], number=number)
        for number in range(100)
    ]
    keys = {key: root_key for each in sold for key, root_key in each.keys.items()}
    macaroons = [decode_macaroon(each.raw) for each in sold]
    rng = random.Random(402)
    accepted = 0
    for _ in range(int(30_000 * SCALE)):
        token, paid = rng.randrange(100), rng.randrange(100) if rng.random() < 0.7 else None
        paid = token if paid is None else paid
        service, tier = rng.randrange(5), rng.randrange(2)
        macaroon, tampered = macaroons[token], rng.random() < 0.2
        if tampered:
            # Another token's hash, caveats or signature under this one's head.
            other = macaroons[(token + rng.randrange(1, 100)) % 100]
            macaroon = rng.choice(
                [replace(macaroon, signature=other.signature), replace(macaroon, caveats=other.caveats)]
            )
        wanted = requirement(f"s{service}", tier)
        expected = not tampered and token == paid and (service, tier) == (token % 5, token % 2)
        try:
            verified = verify(Credential((macaroon,), sold[paid].preimage), keys, wanted)
        except CredentialError:
            assert not expected
            continue
        assert expected
        assert (verified.token_id, verified.price_msat) == (sold[token].identifier[34:], token)
        accepted += 1
    assert accepted > 500 * SCALE
