from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import CredentialError, Fault
from gateway.l402.credentials import Credential
from gateway.l402.identifier import Identifier, token_key
from gateway.l402.macaroon import Macaroon, decode_macaroon, sign
from gateway.l402.minting import attenuate
from gateway.l402.verification import Verified, authenticate, authorize, verify
from tests.l402.samples import NOW, STANDARD_CAVEATS, Sold, credential, fault_of, requirement, sell

SOLD = sell()


def narrowed(*caveats: str, of: Sold = SOLD) -> Sold:
    return replace(of, raw=attenuate(of.raw, caveats))


def signed(*caveats: bytes) -> Sold:
    """A token of ours whose caveats are any bytes: what a holder with a library of his own can make."""
    macaroon = Macaroon("lsat", SOLD.identifier, caveats, sign(SOLD.root_key, SOLD.identifier, caveats))
    return replace(SOLD, raw=macaroon.encode())


def refusal(shown: Credential, keys: dict[bytes, bytes | None], **wanted: Any) -> Fault | None:
    try:
        verify(shown, keys, requirement(**wanted))
    except CredentialError as error:
        return error.fault
    return None


def test_a_paid_token_is_verified_and_says_what_it_allows() -> None:
    assert SOLD.verify(capability="write") == Verified(
        token_keys=(token_key(SOLD.identifier),),
        payment_hash=SOLD.identifier[2:34],
        token_id=SOLD.identifier[34:],
        services=frozenset({"svc:0"}),
        capabilities=frozenset({"read", "write"}),
        valid_until=NOW + 3600,
        routes=frozenset({"default"}),
        price_msat=1500,
        caveats=tuple(tuple(text.split("=")) for text in STANDARD_CAVEATS),  # type: ignore[misc]
    )


def test_L36_a_credential_is_good_any_number_of_times() -> None:
    assert all(SOLD.verify() == SOLD.verify() for _ in range(3))


def test_L40_the_signature_is_checked_before_the_preimage() -> None:
    forged = replace(decode_macaroon(SOLD.raw), signature=bytes(32))
    assert refusal(Credential((forged,), bytes(32)), SOLD.keys) is Fault.INVALID_TOKEN


def test_L40_L45_the_signature_is_checked_before_any_caveat() -> None:
    macaroon = decode_macaroon(SOLD.raw)
    for hostile in (b"gw_x=1", b"services=", b"svc_valid_until=abc", b"preimage=xyz"):
        forged = replace(macaroon, caveats=(hostile, *macaroon.caveats))
        assert refusal(Credential((forged,), SOLD.preimage), SOLD.keys) is Fault.INVALID_TOKEN


def test_L41_the_preimage_must_hash_to_the_payment_hash() -> None:
    assert refusal(credential(SOLD.raw, preimage=SOLD.preimage), SOLD.keys) is None
    for other in (bytes(32), sell(number=1).preimage, SOLD.preimage[::-1]):
        assert refusal(credential(SOLD.raw, preimage=other), SOLD.keys) is Fault.INVALID_PREIMAGE


def test_L44_verifying_needs_nothing_but_the_root_key() -> None:
    assert verify(SOLD.credential, {token_key(SOLD.identifier): SOLD.root_key}, requirement()).price_msat == 1500


def test_L45_a_token_without_a_root_key_of_ours_is_refused() -> None:
    assert refusal(SOLD.credential, {}) is Fault.INVALID_TOKEN
    assert refusal(SOLD.credential, sell(number=1).keys) is Fault.INVALID_TOKEN


def test_L45_every_flipped_bit_of_a_token_is_noticed() -> None:
    head = SOLD.raw.index(SOLD.identifier)
    for bit in range(8 * head, 8 * len(SOLD.raw)):
        raw = bytearray(SOLD.raw)
        raw[bit // 8] ^= 1 << bit % 8
        try:
            shown = credential(bytes(raw), preimage=SOLD.preimage)
        except CredentialError:
            continue
        key = token_key(shown.macaroons[0].identifier)
        # The look-up is made to succeed, so that it is the signature that has to notice.
        assert refusal(shown, {key: SOLD.root_key}) in {Fault.INVALID_TOKEN, Fault.MALFORMED}


def test_L90_a_token_whose_root_key_is_deleted_is_revoked() -> None:
    assert refusal(SOLD.credential, {token_key(SOLD.identifier): None}) is Fault.REVOKED


@pytest.mark.parametrize(
    "identifier", [SOLD.identifier + b"\x00", SOLD.identifier[:-1], b"\x00\x01" + SOLD.identifier[2:]]
)
def test_L50_L52_a_signed_token_with_a_foreign_identifier_is_malformed(identifier: bytes) -> None:
    macaroon = Macaroon("lsat", identifier, (), sign(SOLD.root_key, identifier, ()))
    shown = Credential((macaroon,), SOLD.preimage)
    assert refusal(shown, {token_key(identifier): SOLD.root_key}) is Fault.MALFORMED


def test_an_empty_credential_is_malformed() -> None:
    assert refusal(Credential((), SOLD.preimage), SOLD.keys) is Fault.MALFORMED


# ── Several tokens ──

PAIR = [
    sell(["services=svc:0", "svc_valid_until=1900000000", "gw_price_msat=2000"], number=number, preimage=bytes(32))
    for number in (1, 2)
]
PAIR_KEYS = {**PAIR[0].keys, **PAIR[1].keys}


def test_L35_several_tokens_must_all_verify_with_the_one_preimage() -> None:
    both = credential(PAIR[0].raw, PAIR[1].raw, preimage=bytes(32))
    verified = verify(both, PAIR_KEYS, requirement())
    assert verified.token_keys == tuple(PAIR_KEYS)
    assert verified.token_id == PAIR[0].identifier[34:]
    assert len(verified.caveats) == 6

    assert refusal(both, PAIR[0].keys) is Fault.INVALID_TOKEN
    assert refusal(both, {**PAIR_KEYS, token_key(PAIR[1].identifier): None}) is Fault.REVOKED
    forged = replace(both.macaroons[1], signature=bytes(32))
    assert refusal(Credential((both.macaroons[0], forged), bytes(32)), PAIR_KEYS) is Fault.INVALID_TOKEN


def test_L35_tokens_of_different_invoices_do_not_make_one_credential() -> None:
    mixed = credential(PAIR[0].raw, SOLD.raw, preimage=bytes(32))
    assert refusal(mixed, {**PAIR_KEYS, **SOLD.keys}) is Fault.INVALID_PREIMAGE


def test_L35_each_of_several_tokens_must_be_for_the_service() -> None:
    other = sell(["services=other:0"], number=3, preimage=bytes(32))
    shown = credential(PAIR[0].raw, other.raw, preimage=bytes(32))
    assert refusal(shown, {**PAIR_KEYS, **other.keys}) is Fault.SCOPE


def test_L35_several_tokens_allow_what_all_of_them_allow() -> None:
    first = narrowed("svc_valid_until=1850000000", "gw_route=a,b", of=PAIR[0])
    second = narrowed("gw_price_msat=1000", "gw_route=b,c", "svc_capabilities=read", of=PAIR[1])
    verified = verify(credential(first.raw, second.raw, preimage=bytes(32)), PAIR_KEYS, requirement())
    assert (verified.valid_until, verified.price_msat) == (1_850_000_000, 1000)
    assert verified.routes == frozenset({"b"})
    assert verified.capabilities == frozenset({"read"})
    assert verified.services == frozenset({"svc:0"})


def test_a_token_that_is_shown_twice_counts_once() -> None:
    shown = credential(SOLD.raw, narrowed("a=b").raw, SOLD.raw, preimage=SOLD.preimage)
    assert verify(shown, SOLD.keys, requirement()).token_keys == (token_key(SOLD.identifier),)
    assert shown.token_keys == (token_key(SOLD.identifier),)


# ── Caveats ──


@pytest.mark.parametrize(
    ("caveat", "expected"),
    [
        (b"invalid", None),
        (b"\xff\xfe\xfd", None),
        (b"\xff=1", None),
        (b"note=\xff", None),
        (b"=x", None),
        (b"services", None),
        (b"gw_route", Fault.INVALID_CAVEAT),
        (b"gw_\xff=1", Fault.INVALID_CAVEAT),
        (b"gw_x=\xff", Fault.INVALID_CAVEAT),
        (b"services=svc:0,\xff", Fault.INVALID_CAVEAT),
        (b"svc_valid_until=19\xff", Fault.INVALID_CAVEAT),
        (b"services=\xff=svc:0", Fault.INVALID_CAVEAT),
        (b"preimage=\xff", Fault.INVALID_CAVEAT),
    ],
)
def test_L48_L60_undecodable_caveats_are_skipped_except_where_we_know_the_condition(
    caveat: bytes, expected: Fault | None
) -> None:
    assert fault_of(signed(caveat)) == expected


def test_L46_L68_every_preimage_caveat_must_fit_besides_the_one_in_the_header() -> None:
    right, wrong = f"preimage={SOLD.preimage.hex()}", f"preimage={bytes(32).hex()}"
    assert fault_of(narrowed(right)) is None
    assert fault_of(narrowed(right, right.upper().replace("PREIMAGE", "preimage"))) is None
    assert fault_of(narrowed(wrong)) is Fault.INVALID_PREIMAGE
    assert fault_of(narrowed(wrong, right)) is Fault.INVALID_PREIMAGE
    assert fault_of(narrowed(right, wrong)) is Fault.INVALID_PREIMAGE
    assert fault_of(narrowed("preimage=")) is Fault.INVALID_CAVEAT
    assert refusal(credential(narrowed(right).raw, preimage=bytes(32)), SOLD.keys) is Fault.INVALID_PREIMAGE


def test_what_was_verified_does_not_repeat_the_preimage() -> None:
    shown = repr(narrowed(f"preimage={SOLD.preimage.hex()}").verify())
    assert SOLD.preimage.hex() not in shown
    assert repr(SOLD.preimage) not in shown


def test_no_refusal_repeats_what_it_refuses() -> None:
    for sold, keys in (
        (narrowed("gw_secret=5ec7e7"), SOLD.keys),
        (narrowed("svc_valid_until=5ec7e7"), SOLD.keys),
        (narrowed("preimage=5ec7e7"), SOLD.keys),
        (SOLD, {}),
    ):
        with pytest.raises(CredentialError) as caught:
            verify(sold.credential, keys, requirement())
        assert "5ec7e7" not in str(caught.value)
        assert sold.preimage.hex() not in str(caught.value)


def test_an_authenticated_credential_can_be_authorized_for_many_requests() -> None:
    tokens = authenticate(SOLD.credential, SOLD.keys)
    assert authorize(tokens, requirement()) == SOLD.verify()
    with pytest.raises(CredentialError) as caught:
        authorize(tokens, requirement(now=NOW + 3600))
    assert caught.value.fault is Fault.EXPIRED
    assert SOLD.preimage.hex() not in repr(tokens)


def test_a_payment_hash_cannot_be_swapped_for_one_that_was_paid() -> None:
    other = sell(number=9)
    swapped = Identifier(other.identifier[2:34], SOLD.identifier[34:]).encode()
    forged = replace(decode_macaroon(SOLD.raw), identifier=swapped)
    keys: dict[bytes, bytes | None] = {**SOLD.keys, token_key(swapped): SOLD.root_key}
    assert refusal(Credential((forged,), other.preimage), keys) is Fault.INVALID_TOKEN
