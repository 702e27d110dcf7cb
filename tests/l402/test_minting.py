from __future__ import annotations

import re
from pathlib import Path

import pymacaroons
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymacaroons.serializers import BinarySerializer

import gateway
from gateway.errors import CredentialError, Fault
from gateway.l402.identifier import Identifier
from gateway.l402.macaroon import MAX_CAVEATS, Macaroon, decode_macaroon, has_signature_of
from gateway.l402.minting import attenuate, mint
from tests.l402.samples import MACAROONS, VECTORS, sell

ROOT = bytes(range(32))
IDENTIFIER = Identifier(bytes(32), bytes(32)).encode()

caveat_texts = st.builds(
    "{}={}".format,
    st.text(st.characters(codec="utf-8", exclude_characters="="), min_size=1, max_size=12),
    st.text(st.characters(codec="utf-8"), max_size=24),
)
root_keys = st.binary(min_size=32, max_size=32)
identifiers = st.binary(min_size=64, max_size=64).map(lambda raw: b"\x00\x00" + raw)


def pymacaroons_accepts(raw: bytes, root_key: bytes) -> bool:
    verifier = pymacaroons.Verifier()
    verifier.satisfy_general(lambda _: True)
    try:
        return bool(verifier.verify(BinarySerializer().deserialize_raw(raw), root_key))
    except Exception:  # noqa: BLE001 - the library raises a dozen kinds for "no"
        return False


def test_L53_L56_a_minted_token_has_the_published_golden_bytes() -> None:
    identifier = Identifier(
        bytes.fromhex("72cd6e8422c407fb6d098690f1130b7ded7ec2f7f5e1d30bd9d521f015363793"), b"\x02" * 32
    ).encode()
    caveats = ["services=service1:0", "service1_capabilities=add,subtract", "service1_valid_until=2000000000"]
    macaroon = decode_macaroon(mint(root_key=ROOT, identifier=identifier, caveats=caveats))
    assert macaroon.location == "lsat"
    assert macaroon.signature.hex() == "c24b90a31ec867ede7fbdce7f9f039547e774823fadafc7b3dcd48cd16fa0d73"


def test_L16_a_minted_token_commits_to_the_payment_hash() -> None:
    sold = sell()
    assert Identifier.decode(decode_macaroon(sold.raw).identifier).payment_hash == sold.identifier[2:34]


def test_L57_a_minted_token_holds_first_party_caveats_only() -> None:
    theirs = BinarySerializer().deserialize_raw(sell().raw)
    assert [caveat.first_party() for caveat in theirs.caveats] == [True] * 5


@given(root_keys, identifiers, st.lists(caveat_texts, max_size=5), st.lists(caveat_texts, max_size=3))
def test_pymacaroons_and_we_agree_on_every_minted_and_attenuated_token(
    root_key: bytes, identifier: bytes, signed: list[str], added: list[str]
) -> None:
    raw = attenuate(mint(root_key=root_key, identifier=identifier, caveats=signed), added)
    macaroon = decode_macaroon(raw)
    assert macaroon.caveats == tuple(text.encode() for text in signed + added)
    assert has_signature_of(macaroon, root_key)
    assert pymacaroons_accepts(raw, root_key)

    theirs = pymacaroons.Macaroon("lsat", identifier, root_key, version=pymacaroons.MACAROON_V2)
    for text in signed + added:
        theirs.add_first_party_caveat(text)
    assert BinarySerializer().serialize_raw(theirs) == raw


@given(st.lists(caveat_texts, max_size=4), caveat_texts, st.integers(0, 4), st.booleans())
def test_a_caveat_that_nobody_signed_is_refused_though_pymacaroons_lets_unmet_ones_pass(
    signed: list[str], foreign: str, at: int, met: bool
) -> None:
    macaroon = decode_macaroon(mint(root_key=ROOT, identifier=IDENTIFIER, caveats=signed))
    caveats = [*macaroon.caveats[:at], foreign.encode(), *macaroon.caveats[at:]]
    forged = Macaroon("lsat", IDENTIFIER, tuple(caveats), macaroon.signature)
    assert not has_signature_of(decode_macaroon(forged.encode()), ROOT)
    if met:
        assert not pymacaroons_accepts(forged.encode(), ROOT)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_token_verifies_under_its_own_root_key_only(one: bytes, other: bytes) -> None:
    macaroon = decode_macaroon(mint(root_key=one, identifier=IDENTIFIER, caveats=["a=b"]))
    assert has_signature_of(macaroon, other) == (one == other)


@pytest.mark.parametrize("name", [name for name, vector in MACAROONS.items() if vector.get("caveats")])
def test_L69_attenuating_a_published_token_gives_the_published_signature(name: str) -> None:
    vector = MACAROONS[name]
    whole = decode_macaroon(bytes.fromhex(vector["binary_hex"]))
    for kept in range(len(whole.caveats) + 1):
        added = [text.decode() for text in whole.caveats[kept:]]
        if not all("=" in text for text in added):
            continue
        root_key = bytes.fromhex(vector["root_key_hex"])
        signature = _signature(root_key, whole.identifier, whole.caveats[:kept])
        shorter = Macaroon(whole.location, whole.identifier, whole.caveats[:kept], signature)
        assert attenuate(shorter.encode(), added) == whole.encode()


def _signature(root_key: bytes, identifier: bytes, caveats: tuple[bytes, ...]) -> bytes:
    theirs = pymacaroons.Macaroon("", identifier, root_key, version=pymacaroons.MACAROON_V2)
    for caveat in caveats:
        theirs.add_first_party_caveat(caveat)
    return bytes.fromhex(theirs.signature)


def test_L55_the_corrected_worked_example_of_the_specification_holds_link_by_link() -> None:
    first, second, third = (bytes.fromhex(text) for text in VECTORS["hmac_errata"]["spec_literal_worked_example"])
    started = Macaroon("", b"id", (), first).encode()
    assert decode_macaroon(attenuate(started, ["account = 12345"])).signature == second
    assert decode_macaroon(attenuate(started, ["account = 12345", "valid_until = 1700000000"])).signature == third


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_L53_a_root_key_is_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="root key"):
        mint(root_key=bytes(length), identifier=IDENTIFIER, caveats=[])


@pytest.mark.parametrize("identifier", [b"", bytes(65), bytes(67), b"\x00\x01" + bytes(64)])
def test_only_version_0_identifiers_are_minted(identifier: bytes) -> None:
    with pytest.raises(ValueError, match="identifier"):
        mint(root_key=ROOT, identifier=identifier, caveats=[])


@pytest.mark.parametrize(
    "caveats", [["no equals sign"], [""], ["=value"], ["a=" + "b" * 511], ["a=\ud800"], ["a=b"] * (MAX_CAVEATS + 1)]
)
def test_caveats_that_could_not_be_read_back_are_not_signed(caveats: list[str]) -> None:
    with pytest.raises(ValueError):
        mint(root_key=ROOT, identifier=IDENTIFIER, caveats=caveats)
    with pytest.raises(ValueError):
        attenuate(sell().raw, caveats)


@given(st.binary(max_size=80), st.lists(st.text(max_size=20), max_size=4), st.text(max_size=8), st.binary(max_size=40))
def test_no_foreign_exception_leaves_the_border(raw: bytes, caveats: list[str], location: str, key: bytes) -> None:
    with pytest.raises(CredentialError) as caught:
        attenuate(raw, caveats)
    assert caught.value.fault is Fault.MALFORMED
    for root_key, identifier in ((key, IDENTIFIER), (ROOT, raw), (ROOT, IDENTIFIER)):
        try:
            minted = mint(root_key=root_key, identifier=identifier, caveats=caveats, location=location)
        except ValueError:
            continue
        assert decode_macaroon(minted).location == location


def test_pymacaroons_is_imported_in_one_file_of_the_package_only() -> None:
    package = Path(gateway.__file__).parent
    importing = re.compile(r"^\s*(?:from|import)\s+pymacaroons\b", re.MULTILINE)
    found = [
        path.relative_to(package).as_posix() for path in package.rglob("*.py") if importing.search(path.read_text())
    ]
    assert found == ["l402/minting.py"]
