from __future__ import annotations

import hashlib

import pytest

from gateway.errors import CredentialError, Fault
from gateway.l402.identifier import IDENTIFIER_BYTES, Identifier, token_key
from tests.l402.samples import MACAROONS

HASH, TOKEN_ID = bytes(range(32)), bytes(range(32, 64))


def test_L50_an_identifier_is_version_hash_and_token_id_in_66_bytes() -> None:
    raw = Identifier(HASH, TOKEN_ID).encode()
    assert raw == b"\x00\x00" + HASH + TOKEN_ID
    assert len(raw) == IDENTIFIER_BYTES == 66
    assert Identifier.decode(raw) == Identifier(HASH, TOKEN_ID)


@pytest.mark.parametrize("length", [0, 1, 2, 34, 35, 65, 67, 98, 132])
def test_L50_an_identifier_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(CredentialError) as caught:
        Identifier.decode(bytes(length))
    assert caught.value.fault is Fault.MALFORMED


@pytest.mark.parametrize("version", [b"\x00\x01", b"\x01\x00", b"\xff\xff"])
def test_L52_an_unknown_identifier_version_is_refused(version: bytes) -> None:
    with pytest.raises(CredentialError) as caught:
        Identifier.decode(version + HASH + TOKEN_ID)
    assert caught.value.fault is Fault.MALFORMED


@pytest.mark.parametrize(("payment_hash", "token_id"), [(HASH[:31], TOKEN_ID), (HASH, TOKEN_ID + b"\x00"), (b"", b"")])
def test_parts_that_are_not_32_bytes_cannot_be_encoded(payment_hash: bytes, token_id: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes each"):
        Identifier(payment_hash, token_id).encode()


@pytest.mark.parametrize("name", [name for name, vector in MACAROONS.items() if "id_sha256" in vector])
def test_L54_root_keys_are_kept_under_the_sha256_of_the_identifier(name: str) -> None:
    identifier = bytes.fromhex(MACAROONS[name]["identifier_hex"])
    assert token_key(identifier).hex() == MACAROONS[name]["id_sha256"] == hashlib.sha256(identifier).hexdigest()
