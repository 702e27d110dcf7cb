"""Every published macaroon: bytes, spellings, signatures, and whether it is accepted."""

from __future__ import annotations

import hmac

import pytest

from gateway.errors import CredentialError, Fault
from gateway.l402.caveats import Caveat
from gateway.l402.credentials import read_credentials
from gateway.l402.identifier import Identifier, token_key
from gateway.l402.macaroon import Macaroon, decode_macaroon, has_signature_of, sign
from gateway.l402.scope import read_scope
from gateway.l402.tokens import decode_token, encode_token
from gateway.l402.verification import Requirement, verify
from tests.l402.samples import MACAROONS, NOW, VECTORS

COMPLETE = [name for name in MACAROONS if name != "F0"]
PREIMAGE = bytes.fromhex("2f84e22556af9919f695d7761f404e98ff98058b7d32074de8c0c83bf63eecd7")
GOLDEN_TOKEN = (
    "AgEEbHNhdAJCAAByzW6EIsQH+20JhpDxEwt97X7C9/Xh0wvZ1SHwFTY3kwICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAAITc2VydmljZXM9"
    "c2VydmljZTE6MAACInNlcnZpY2UxX2NhcGFiaWxpdGllcz1hZGQsc3VidHJhY3QAAh9zZXJ2aWNlMV92YWxpZF91bnRpbD0yMDAwMDAwMDAwAAAGIMJL"
    "kKMeyGft5/vc5/nwOVR+d0gj+tr8ez3NSM0W+g1z"
)


def macaroon_of(name: str) -> Macaroon:
    return decode_macaroon(decode_token(MACAROONS[name]["b64url_nopad"]))


def test_all_sixteen_macaroons_are_there() -> None:
    assert len(MACAROONS) == 16


@pytest.mark.parametrize("name", COMPLETE)
def test_L56_the_bytes_of_a_published_macaroon_are_read_field_by_field(name: str) -> None:
    vector = MACAROONS[name]
    macaroon = decode_macaroon(bytes.fromhex(vector["binary_hex"]))
    assert macaroon.location == vector["location"]
    assert macaroon.identifier.hex() == vector["identifier_hex"]
    assert [caveat.decode() for caveat in macaroon.caveats] == vector["caveats"]
    assert macaroon.signature.hex() == vector["signature_hex"]
    assert macaroon.encode().hex() == vector["binary_hex"]


@pytest.mark.parametrize("name", COMPLETE)
def test_L15_L56_the_published_spellings_of_a_macaroon_all_mean_its_bytes(name: str) -> None:
    vector = MACAROONS[name]
    raw = bytes.fromhex(vector["binary_hex"])
    assert decode_token(vector["b64"]) == decode_token(vector["b64url_nopad"]) == raw
    assert encode_token(raw) == vector["b64"]


@pytest.mark.parametrize("name", list(MACAROONS))
def test_L55_the_signature_of_a_published_macaroon_is_recomputed(name: str) -> None:
    macaroon = macaroon_of(name)
    root_key = bytes.fromhex(MACAROONS[name]["root_key_hex"])
    assert has_signature_of(macaroon, root_key)
    assert not has_signature_of(macaroon, root_key[:-1] + bytes((root_key[-1] ^ 1,)))


def test_a_wrong_published_root_key_is_refused() -> None:
    assert not has_signature_of(macaroon_of("F0"), bytes.fromhex(MACAROONS["F0"]["wrong_root_key_hex"]))


@pytest.mark.parametrize("name", ["T", "P"])
def test_L50_published_macaroons_with_foreign_identifiers_are_macaroons_but_no_tokens(name: str) -> None:
    with pytest.raises(CredentialError) as caught:
        Identifier.decode(macaroon_of(name).identifier)
    assert caught.value.fault is Fault.MALFORMED


def outcome(name: str, *, now: int = NOW) -> Fault | None:
    """What the verifier says to a published token of the service ``svc`` with its published preimage."""
    vector = MACAROONS[name]
    header = f"L402 {vector['b64url_nopad']}:{PREIMAGE.hex()}"
    (credential,) = read_credentials([("Authorization", header)]).credentials
    key = token_key(credential.macaroons[0].identifier)
    try:
        verify(credential, {key: bytes.fromhex(vector["root_key_hex"])}, Requirement("svc", 0, "read", now))
    except CredentialError as error:
        return error.fault
    return None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("B", None),
        ("B-pre", None),
        ("B-widen-time", Fault.INVALID_CAVEAT),
        ("B-narrow-time", None),
        ("B-unknown", None),
        ("B-noteq", None),
        ("B-badtime", Fault.INVALID_CAVEAT),
        ("B-emptysvc", Fault.INVALID_CAVEAT),
        ("B-idv1", Fault.MALFORMED),
        ("F0", None),
        ("A0", Fault.INVALID_PREIMAGE),
        ("L", Fault.INVALID_PREIMAGE),
    ],
)
def test_a_published_token_is_accepted_or_refused_as_its_note_says(name: str, expected: Fault | None) -> None:
    assert outcome(name) == expected
    note = MACAROONS[name]["note"]
    assert ("REJECT" not in note) or expected is not None
    assert ("ACCEPT" not in note) or expected is None


def test_the_published_tokens_end_when_they_say() -> None:
    assert outcome("B", now=4_102_444_799) is None
    assert outcome("B", now=4_102_444_800) is Fault.EXPIRED
    assert outcome("B-narrow-time", now=4_102_444_798) is None
    assert outcome("B-narrow-time", now=4_102_444_799) is Fault.EXPIRED


@pytest.mark.parametrize(("name", "left"), [("A0", None), ("A3", {"loop_out", "loop_in"}), ("A5", {"loop_in"})])
def test_L65_the_published_attenuation_leaves_fewer_capabilities(name: str, left: set[str] | None) -> None:
    caveats = [Caveat.decode(raw) for raw in macaroon_of(name).caveats]
    scope = read_scope([caveat for caveat in caveats if caveat is not None], "lightning_loop")
    assert scope.capabilities == left


def test_L46_the_published_hex_form_gives_its_preimage() -> None:
    presented = read_credentials([("Grpc-Metadata-Macaroon", MACAROONS["P"]["binary_hex"])])
    published = MACAROONS["P"]["caveats"][0].removeprefix("preimage=")
    assert [credential.preimage.hex() for credential in presented.credentials] == [published]


def test_L55_the_chain_is_that_of_the_libraries_and_not_the_literal_text() -> None:
    errata, vector = VECTORS["hmac_errata"], MACAROONS["A3"]
    root_key, macaroon = bytes.fromhex(vector["root_key_hex"]), macaroon_of("A3")
    literal = hmac.digest(root_key, macaroon.identifier, "sha256")
    assert literal.hex() == errata["A3_spec_literal_sig0"]
    for caveat in macaroon.caveats:
        literal = hmac.digest(literal, caveat, "sha256")
    assert literal.hex() == errata["A3_spec_literal_sig3"]
    assert sign(root_key, macaroon.identifier, macaroon.caveats).hex() == errata["A3_real_sig3"]


def test_L55_the_first_key_is_derived_from_the_root_key() -> None:
    derived = bytes.fromhex(VECTORS["hmac_errata"]["derived_key_for_zero_root"])
    assert sign(bytes(32), b"test-id", []) == hmac.digest(derived, b"test-id", "sha256")


def test_the_golden_token_is_accepted_in_its_service_until_its_end() -> None:
    credential = read_credentials([("Authorization", f"L402 {GOLDEN_TOKEN}:{'01' * 32}")]).credentials[0]
    keys = {token_key(credential.macaroons[0].identifier): bytes(range(32))}
    verified = verify(credential, keys, Requirement("service1", 0, "subtract", 1_999_999_999))
    assert verified.token_id == b"\x02" * 32
    assert verified.payment_hash.hex() == "72cd6e8422c407fb6d098690f1130b7ded7ec2f7f5e1d30bd9d521f015363793"
    assert verified.capabilities == frozenset({"add", "subtract"})
    assert verified.valid_until == 2_000_000_000
    with pytest.raises(CredentialError) as caught:
        verify(credential, keys, Requirement("service1", 0, None, 2_000_000_000))
    assert caught.value.fault is Fault.EXPIRED
