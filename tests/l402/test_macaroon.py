from __future__ import annotations

import hmac
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymacaroons.serializers import BinarySerializer

from gateway.errors import CredentialError, Fault
from gateway.l402.macaroon import MAX_CAVEATS, MAX_MACAROON_BYTES, Macaroon, decode_macaroon, has_signature_of, sign
from tests.conftest import SCALE
from tests.l402.samples import MACAROONS, mutate, sell

SOLD = sell()
VALID = [
    SOLD.raw,
    Macaroon("", b"id", (), bytes(32)).encode(),
    Macaroon("x", b"i" * 300, (b"c" * 200,) * 3, bytes(range(32))).encode(),
]
SIGNATURE = bytes((0, 6, 32)) + bytes(32)
HEAD = b"\x02\x02\x02id\x00"


def fault_of(raw: bytes) -> Fault | None:
    try:
        decode_macaroon(raw)
    except CredentialError as error:
        return error.fault
    return None


def test_the_hand_written_frame_of_the_refusals_below_is_itself_accepted() -> None:
    assert decode_macaroon(HEAD + SIGNATURE) == Macaroon("", b"id", (), bytes(32))
    assert decode_macaroon(HEAD + b"\x02\x03a=b\x00" + SIGNATURE) == Macaroon("", b"id", (b"a=b",), bytes(32))
    assert decode_macaroon(b"\x02\x01\x01l" + HEAD[1:] + SIGNATURE) == Macaroon("l", b"id", (), bytes(32))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty"),
        (b"\x02", "version only"),
        (b"\x01" + HEAD[1:] + SIGNATURE, "another version"),
        (b"0021location x\n", "version 1"),
        (b'{"v":2,"i":"id","s64":""}', "JSON"),
        (HEAD + SIGNATURE + b"\x00", "trailing byte"),
        (HEAD + SIGNATURE[:-1], "short signature"),
        (HEAD + b"\x00\x06\x1f" + bytes(31), "31-byte signature"),
        (HEAD + b"\x00\x06\x21" + bytes(33), "33-byte signature"),
        (HEAD + b"\x00\x06\xa0\x00" + bytes(32), "overlong varint before the signature"),
        (HEAD + b"\x06\x20" + bytes(32), "no end of caveats"),
        (b"\x02\x02\x82\x00id\x00" + SIGNATURE, "overlong varint"),
        (b"\x02\x02\x82\x80\x00id\x00" + SIGNATURE, "three-byte varint"),
        (b"\x02\x02\x82\x80\x80\x80\x80\x80\x80\x80\x80\x01id\x00" + SIGNATURE, "huge varint"),
        (b"\x02\x02\x00\x00" + SIGNATURE, "empty identifier"),
        (b"\x02\x00" + SIGNATURE, "no identifier"),
        (b"\x02\x01\x00" + HEAD[1:] + SIGNATURE, "empty location spelled out"),
        (b"\x02\x01\x01\xff" + HEAD[1:] + SIGNATURE, "location not UTF-8"),
        (b"\x02\x02\x02id\x01\x01l\x00" + SIGNATURE, "location after identifier"),
        (HEAD + b"\x02\x00\x00" + SIGNATURE, "empty caveat"),
        (HEAD + b"\x01\x01l\x02\x03a=b\x00" + SIGNATURE, "location in a caveat"),
        (HEAD + b"\x02\x03a=b\x02\x03a=b\x00" + SIGNATURE, "two identifiers in a caveat"),
        (HEAD + b"\x03\x03a=b\x00" + SIGNATURE, "unknown field"),
        (HEAD + b"\x02\x7fa=b\x00" + SIGNATURE, "caveat longer than the rest"),
        (HEAD + (b"\x02\x03a=b\x00") * 65 + SIGNATURE, "65 caveats"),
        (HEAD + b"\x02\x81\x04" + b"c" * 513 + b"\x00" + SIGNATURE, "caveat of 513 bytes"),
        (HEAD + (b"\x02\x80\x04" + b"c" * 512 + b"\x00") * 12 + SIGNATURE, "longer than 6,144 bytes"),
    ],
)  # fmt: skip
def test_L56_only_canonical_v2_binary_is_read(raw: bytes, why: str) -> None:
    assert fault_of(raw) is Fault.MALFORMED, why


@pytest.mark.parametrize(
    "third_party", [b"\x02\x03a=b\x04\x01v\x00", b"\x01\x01l\x02\x03a=b\x04\x01v\x00", b"\x02\x03a=b\x04\x00\x00"]
)
def test_L57_third_party_caveats_are_refused(third_party: bytes) -> None:
    assert fault_of(HEAD + third_party + SIGNATURE) is Fault.MALFORMED


@pytest.mark.parametrize("cut", range(len(SOLD.raw)))
def test_a_macaroon_cut_short_anywhere_is_refused(cut: int) -> None:
    assert fault_of(SOLD.raw[:cut]) is Fault.MALFORMED


def test_64_caveats_of_any_legal_length_are_read() -> None:
    macaroon = Macaroon("lsat", SOLD.identifier, tuple(b"c" * length for length in range(1, 65)), bytes(32))
    assert decode_macaroon(macaroon.encode()) == macaroon
    longest = Macaroon("lsat", SOLD.identifier, (b"c" * 512, b"d" * 127, b"e" * 128), bytes(32))
    assert decode_macaroon(longest.encode()) == longest


@pytest.mark.parametrize(
    "macaroon",
    [
        Macaroon("", b"", (), bytes(32)),
        Macaroon("", b"id", (b"",), bytes(32)),
        Macaroon("", b"id", (b"c" * 513,), bytes(32)),
        Macaroon("", b"id", (b"c",) * (MAX_CAVEATS + 1), bytes(32)),
        Macaroon("", b"id", (b"c" * 512,) * 12, bytes(32)),
        Macaroon("", b"id", (), bytes(31)),
        Macaroon("\ud800", b"id", (), bytes(32)),
    ],
)
def test_what_would_not_be_read_back_is_not_encoded(macaroon: Macaroon) -> None:
    with pytest.raises(ValueError):
        macaroon.encode()


def test_the_repr_of_a_macaroon_shows_nothing_that_could_be_used() -> None:
    assert repr(decode_macaroon(SOLD.raw)) == "Macaroon(location='lsat')"


def test_L55_each_signature_is_keyed_by_the_one_before_it() -> None:
    root, caveats = bytes(range(32)), (b"a=1", b"b=2")
    signature = hmac.digest(b"macaroons-key-generator", root, "sha256")
    for message in (b"id", *caveats):
        signature = hmac.digest(signature, message, "sha256")
    assert sign(root, b"id", caveats) == signature


def test_L45_the_signature_covers_identifier_and_every_caveat_in_order() -> None:
    macaroon = decode_macaroon(SOLD.raw)
    assert has_signature_of(macaroon, SOLD.root_key)
    first, second, *rest = macaroon.caveats
    for caveats in ((second, first, *rest), (first, *rest), (*macaroon.caveats, b"a=b"), (b"a=b", *macaroon.caveats)):
        assert not has_signature_of(Macaroon("lsat", macaroon.identifier, caveats, macaroon.signature), SOLD.root_key)
    other = bytes((macaroon.identifier[0], *macaroon.identifier[1:-1], macaroon.identifier[-1] ^ 1))
    assert not has_signature_of(Macaroon("lsat", other, macaroon.caveats, macaroon.signature), SOLD.root_key)
    assert has_signature_of(Macaroon("elsewhere", *_rest(macaroon)), SOLD.root_key)


def _rest(macaroon: Macaroon) -> tuple[bytes, tuple[bytes, ...], bytes]:
    return macaroon.identifier, macaroon.caveats, macaroon.signature


@pytest.mark.parametrize("name", [name for name, vector in MACAROONS.items() if "binary_hex" in vector])
def test_every_published_macaroon_encodes_to_the_bytes_that_it_was_read_from(name: str) -> None:
    raw = bytes.fromhex(MACAROONS[name]["binary_hex"])
    assert decode_macaroon(raw).encode() == raw


@settings(max_examples=int(20_000 * SCALE))
@given(st.binary(min_size=1, max_size=40))
def test_fuzzed_macaroons_are_read_canonically_or_refused(program: bytes) -> None:
    which = program[0] % (len(VALID) + 1)
    raw = program if which == len(VALID) else mutate(VALID[which], program[1:])
    if (fault := fault_of(raw)) is not None:
        assert fault is Fault.MALFORMED
        return
    macaroon = decode_macaroon(raw)
    assert macaroon.encode() == raw
    theirs = BinarySerializer().deserialize_raw(raw)
    assert (theirs.identifier_bytes, theirs.signature) == (macaroon.identifier, macaroon.signature.hex())
    assert tuple(caveat.caveat_id_bytes for caveat in theirs.caveats) == macaroon.caveats


def test_the_largest_hostile_inputs_are_refused_at_once() -> None:
    hostile = [b"\x02" + b"\x80" * 250_000, b"A" * 8_190, HEAD + b"\x02\x01a\x00" * 1_500, bytes(MAX_MACAROON_BYTES)]
    begun = time.process_time()
    for _ in range(100):
        for raw in hostile:
            assert fault_of(raw) is Fault.MALFORMED
    assert time.process_time() - begun < 2.0, "400 refusals, 5 ms each at most"
