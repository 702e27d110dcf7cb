from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import CredentialError, Fault
from gateway.l402.tokens import MAX_TOKEN_CHARS, decode_token, decode_token_hex, encode_token


@given(st.binary(min_size=1, max_size=100))
def test_L15_tokens_are_emitted_in_standard_base64_with_padding(raw: bytes) -> None:
    assert encode_token(raw) == base64.b64encode(raw).decode()
    assert len(encode_token(raw)) % 4 == 0


@given(st.binary(min_size=1, max_size=100))
def test_L56_every_usual_spelling_of_a_token_reads_the_same(raw: bytes) -> None:
    standard, urlsafe = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()
    for text in (standard, urlsafe, standard.rstrip("="), urlsafe.rstrip("=")):
        assert decode_token(text) == raw
    assert decode_token_hex(raw.hex()) == raw
    assert decode_token_hex(raw.hex().upper()) == raw


@given(st.text(alphabet="ABab01+/-_= \n.é", max_size=12))
def test_a_token_text_has_one_meaning_or_none(text: str) -> None:
    try:
        raw = decode_token(text)
    except CredentialError:
        return
    again = encode_token(raw)
    assert text in {again, again.rstrip("="), again.translate(URL_SAFE), again.rstrip("=").translate(URL_SAFE)}


URL_SAFE = str.maketrans("+/", "-_")


@pytest.mark.parametrize(
    "text",
    [
        "", "=", "==", "A", "AA=", "AAAA=", "AA===", "AAA==", "AB==", "AAB=", "AB", "AAB", "+_==", "-/==", "AA\n==",
        " AAAA", "AAAA ", "AA A", "AA==AA==", "AAAA:", "A,AA", "AAé=", "١٢٣٤", "AGIAJEemVQUTEyNCR0exk7ek90Cg==",
        "A" * (MAX_TOKEN_CHARS + 4),
    ],
)  # fmt: skip
def test_text_that_is_not_exactly_base64_is_refused(text: str) -> None:
    with pytest.raises(CredentialError) as caught:
        decode_token(text)
    assert caught.value.fault is Fault.MALFORMED


@pytest.mark.parametrize("text", ["", "0", "0g", "00 11", "0x00", "é0", "00\n", "0" * (MAX_TOKEN_CHARS + 2)])
def test_text_that_is_not_exactly_hex_is_refused(text: str) -> None:
    with pytest.raises(CredentialError) as caught:
        decode_token_hex(text)
    assert caught.value.fault is Fault.MALFORMED
