from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.l402.credentials import (
    MAX_CREDENTIALS,
    MAX_ELEMENTS,
    MAX_TOKENS,
    Credential,
    Presented,
    credential_text,
    read_credentials,
)
from gateway.l402.minting import attenuate
from gateway.l402.tokens import encode_token
from tests.conftest import SCALE
from tests.l402.samples import Sold, mutate, sell

A, B = sell(number=1), sell(number=2)
T, X = A.text, A.preimage.hex()
URL_SAFE = base64.urlsafe_b64encode(A.raw).decode()
LONG_PROOF = base64.b64decode(X).hex()
WITH_PREIMAGE = attenuate(A.raw, [f"preimage={X}"])
HEX_FORM = Credential(tuple(sell(number=1).credential.macaroons), A.preimage)

NOTHING = Presented((), malformed=False, present=False)
MALFORMED = Presented((), malformed=True, present=True)


def read(*authorization: str) -> Presented:
    return read_credentials([("Host", "a"), *(("Authorization", line) for line in authorization)])


def only(*sold: Sold) -> Presented:
    return Presented(tuple(each.credential for each in sold), malformed=False, present=True)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([f"L402 {T}:{X}"], id="L30-the-plain-form"),
        pytest.param([f"l402 {T}:{X}"], id="L12-scheme-in-lower-case"),
        pytest.param([f"LSAT {T}:{X}"], id="L23-LSAT"),
        pytest.param([f"lSaT   {T}:{X}"], id="L23-mixed-case-several-spaces"),
        pytest.param([f"  L402 {T}:{X}\t"], id="white-space-around"),
        pytest.param([f"L402 {T.rstrip('=')}:{X}"], id="no-padding"),
        pytest.param([f"L402 {URL_SAFE}:{X}"], id="url-safe"),
        pytest.param([f"L402 {URL_SAFE.rstrip('=')}:{X}"], id="url-safe-no-padding"),
        pytest.param([f"L402 {T}:{X.upper()}"], id="L33-upper-case-preimage"),
        pytest.param([f"L402 {T}:{LONG_PROOF}"], id="proof-of-96-digits"),
        pytest.param([f"L402 L402 {T}:{X}"], id="scheme-repeated"),
        pytest.param([f"L402 LSAT L402  {T}:{X}"], id="scheme-repeated-and-mixed"),
        pytest.param([f"LSAT {T}:{X}", f"L402 {T}:{X}"], id="two-lines"),
        pytest.param([f"LSAT {T}:{X}, L402 {T}:{X}"], id="two-lines-folded"),
        pytest.param([f"LSAT {T}:{X},L402 {URL_SAFE}:{X.upper()}"], id="one-credential-in-two-spellings"),
        pytest.param([f"Bearer abc, L402 {T}:{X}"], id="behind-Bearer"),
        pytest.param([f"L402 {T}:{X}, Bearer abc"], id="before-Bearer"),
        pytest.param([f"L402 {T}:{X}", "Basic dXNlcjpwYXNz"], id="Basic-in-the-last-line"),
        pytest.param(["Basic dXNlcjpwYXNz", f"L402 {T}:{X}"], id="Basic-in-the-first-line"),
        pytest.param([f'Digest username="a, b", uri="/x", L402 {T}:{X}'], id="behind-Digest"),
        pytest.param([f'Digest username="a, L402 x:y", L402 {T}:{X}'], id="not-inside-a-quoted-string"),
        pytest.param([f'Digest a="never closed, L402 {T}:{X}'], id="a-quote-never-closed-hides-nothing"),
        pytest.param([f'L402 {T}:{X}, Digest a="\\"", b="x:y"'], id="before-Digest"),
        pytest.param([f"L402 {T}:{X}, Negotiate"], id="before-a-bare-scheme"),
        pytest.param([f", L402 {T}:{X},"], id="empty-list-elements"),
        pytest.param([f'L402 {T}:{X}, version="0"'], id="L24-a-version-after-it"),
        pytest.param(["", f"L402 {T}:{X}"], id="an-empty-line"),
    ],
)
def test_L30_every_deployed_spelling_of_one_credential_is_one_credential(lines: list[str]) -> None:
    assert read(*lines) == only(A)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["L402"], id="scheme-only"),
        pytest.param(["L402 "], id="scheme-and-space"),
        pytest.param(["L402 abc"], id="no-colon"),
        pytest.param(["L402 :"], id="colon-only"),
        pytest.param([f"L402 :{X}"], id="no-token"),
        pytest.param([f"L402 {T}:"], id="no-preimage"),
        pytest.param(["L402 a:b:c"], id="L34-extra-colon"),
        pytest.param([f"L402 {T}:{X}:"], id="L34-colon-at-the-end"),
        pytest.param([f"L402 {T}::{X}"], id="L34-two-colons"),
        pytest.param([f"L402 {T}:{X},{T}:{X}"], id="L34-two-pairs"),
        pytest.param([f"L402 {T}\x00:{X}"], id="L34-NUL"),
        pytest.param([f"L402 {T}:{X}\x7f"], id="L34-DEL"),
        pytest.param([f"L402\t{T}:{X}"], id="L34-tab-after-the-scheme"),
        pytest.param([f"L402 {T}:\n{X}"], id="L34-line-feed"),
        pytest.param([f"L402 {T}:{X[:-1]}"], id="63-digits"),
        pytest.param([f"L402 {T}:{X}0"], id="65-digits"),
        pytest.param([f"L402 {T}:{X}zz"], id="garbage-after-the-preimage"),
        pytest.param([f"L402 {T}:{X} zz"], id="words-after-the-preimage"),
        pytest.param([f"L402 {T}:{'g' * 64}"], id="not-hex"),
        pytest.param([f"L402 {T}:{'٣' * 64}"], id="digits-of-another-script"),
        pytest.param([f"L402 {T}:{'ff' * 48}"], id="96-digits-that-are-no-hex-in-base64"),
        pytest.param([f"L402 {T} {X}"], id="space-for-colon"),
        pytest.param([f"L402 {T[:8]}L402 {T[8:]}:{X}"], id="scheme-inside-the-token"),
        pytest.param([f"L402 {T}==:{X}"], id="too-much-padding"),
        pytest.param([f"L402 {T[:40]}-_+/{T[44:]}:{X}"], id="mixed-alphabets"),
        pytest.param([f"L402 {encode_token(A.raw + b'x')}:{X}"], id="trailing-byte-in-the-macaroon"),
        pytest.param([f"L402 {'A' * 8_000}:{X}"], id="8-KB-of-A"),
        pytest.param([f"L402 {A.raw.hex()}:{X}"], id="hex-for-base64"),
        pytest.param([f"L402 {T},:{X}"], id="empty-second-token"),
        pytest.param([f"L402 ,{T}:{X}"], id="empty-first-token"),
        pytest.param([f"L402 {T},, {T}:{X}"], id="empty-middle-token"),
        pytest.param([f"L402 {T}, Bearer abc"], id="cut-off-by-another-scheme"),
        pytest.param([f"L402 {','.join([T] * (MAX_TOKENS + 1))}:{X}"], id="too-many-tokens"),
        pytest.param(["L402 " + "A" * 20_000], id="too-long"),
    ],
)
def test_L3_L34_a_credential_that_is_not_exactly_one_is_malformed(lines: list[str]) -> None:
    assert read(*lines) == MALFORMED


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["Bearer abc"],
        ["Basic dXNlcjpwYXNz"],
        ["Bearer L402"],
        [f"L402x {T}:{X}"],
        [f"XL402 {T}:{X}"],
        [f'Digest a="L402 {T}:{X}"'],
        ["Bearer " + "A" * 20_000],
        [f"{T}:{X}"],
        ["[]", "foo", "LSATL402"],
    ],
)  # fmt: skip
def test_L1_a_request_without_an_element_of_ours_shows_no_credential(lines: list[str]) -> None:
    assert read(*lines) == NOTHING


@pytest.mark.parametrize("separator", [",", ", ", " ,\t"])
def test_L31_several_tokens_are_separated_by_commas_before_one_colon(separator: str) -> None:
    presented = read(f"L402 {T}{separator}{B.text}:{X}")
    assert [len(each.macaroons) for each in presented.credentials] == [2]
    assert presented.credentials[0].macaroons == A.credential.macaroons + B.credential.macaroons
    assert not presented.malformed


def test_L31_several_tokens_may_stand_beside_other_elements() -> None:
    presented = read(f"Bearer a,b, LSAT {T}:{X}, L402 {T},{B.text}:{X}, Basic x")
    assert [len(each.macaroons) for each in presented.credentials] == [1, 2]
    assert not presented.malformed


def test_L31_eight_tokens_are_read() -> None:
    presented = read(f"L402 {','.join([sell(['a=b']).text] * MAX_TOKENS)}:{X}")
    assert [len(each.macaroons) for each in presented.credentials] == [MAX_TOKENS]


def test_L32_the_header_is_read_into_tokens_and_preimage() -> None:
    (credential,) = read(A.header).credentials
    assert credential.preimage == A.preimage
    assert [macaroon.encode() for macaroon in credential.macaroons] == [A.raw]


@pytest.mark.parametrize("text", [X, X.upper(), X.title()])
def test_L33_a_preimage_is_64_hex_digits_of_either_case(text: str) -> None:
    assert read(f"L402 {T}:{text}") == only(A)


@pytest.mark.parametrize("scheme", ["L402", "l402", "LSAT", "lsat", "LsAt"])
def test_L12_L23_both_scheme_names_are_accepted_in_any_case(scheme: str) -> None:
    assert read(f"{scheme} {T}:{X}") == only(A)


def test_L24_a_credential_needs_no_version() -> None:
    assert "version" not in A.header
    assert read(A.header) == only(A)


def test_a_malformed_element_does_not_hide_a_good_one() -> None:
    for lines in ([f"LSAT junk, L402 {T}:{X}"], [f"L402 {T}:{X}", "L402 junk"], [f"L402 {T}:{X}, LSAT a:b:c"]):
        assert read(*lines) == Presented((A.credential,), malformed=True, present=True)


def test_different_credentials_are_kept_apart_in_their_order() -> None:
    assert read(B.header, A.header, B.header) == only(B, A)


def test_the_same_token_with_another_preimage_is_another_credential() -> None:
    presented = read(f"L402 {T}:{X}, L402 {T}:{B.preimage.hex()}")
    assert [each.preimage for each in presented.credentials] == [A.preimage, B.preimage]


def test_no_more_than_four_credentials_are_kept() -> None:
    presented = read(", ".join(sell(["a=b"], number=number).header for number in range(MAX_CREDENTIALS + 1)))
    assert len(presented.credentials) == MAX_CREDENTIALS
    assert presented.malformed


def test_no_more_than_sixteen_elements_are_looked_at() -> None:
    junk = ", ".join(f"L402 {number}" for number in range(MAX_ELEMENTS))
    assert read(f"{junk}, {A.header}") == MALFORMED
    assert read(f"{A.header}, {junk}").credentials == (A.credential,)


HEX_NAMES = ["Macaroon", "Grpc-Metadata-Macaroon", "Token", "Grpc-Metadata-Token", "token", "MACAROON"]


@pytest.mark.parametrize("name", HEX_NAMES)
@pytest.mark.parametrize("text", [WITH_PREIMAGE.hex(), WITH_PREIMAGE.hex().upper(), f" {WITH_PREIMAGE.hex()} "])
def test_L22_L46_L82_L83_the_hex_form_carries_its_preimage_in_a_caveat(name: str, text: str) -> None:
    presented = read_credentials([(name, text)])
    assert [each.preimage for each in presented.credentials] == [A.preimage]
    assert presented.credentials[0].macaroons[0].encode() == WITH_PREIMAGE
    assert not presented.malformed


def test_the_last_preimage_caveat_of_the_hex_form_counts() -> None:
    raw = attenuate(A.raw, [f"preimage={B.preimage.hex()}", f"preimage={X}", "later=1"])
    assert read_credentials([("Macaroon", raw.hex())]).credentials[0].preimage == A.preimage


def test_the_hex_form_is_read_where_authorization_holds_another_scheme_only() -> None:
    macaroon = ("Macaroon", WITH_PREIMAGE.hex())
    assert len(read_credentials([("Authorization", "Bearer l402"), macaroon]).credentials) == 1
    assert read_credentials([("Authorization", B.header), macaroon]) == only(B)
    assert read_credentials([macaroon, ("authorization", "L402 junk")]) == MALFORMED


def test_the_same_macaroon_under_two_names_is_one_credential() -> None:
    headers = [(name, WITH_PREIMAGE.hex()) for name in HEX_NAMES]
    assert len(read_credentials(headers).credentials) == 1


@pytest.mark.parametrize(
    "text",
    [
        "junk",
        "02",
        "0201",
        A.raw.hex(),
        WITH_PREIMAGE.hex() + "00",
        WITH_PREIMAGE.hex()[:-1],
        encode_token(WITH_PREIMAGE),
    ],
)
def test_a_macaroon_header_that_proves_no_payment_is_malformed(text: str) -> None:
    assert read_credentials([("Macaroon", text)]) == MALFORMED


@pytest.mark.parametrize("value", ["ab", "0x" + "00" * 31, "g" * 64, X + "00"])
def test_a_preimage_caveat_that_is_no_preimage_is_malformed(value: str) -> None:
    raw = attenuate(A.raw, [f"preimage={value}"])
    assert read_credentials([("Macaroon", raw.hex())]) == MALFORMED


@pytest.mark.parametrize(("name", "value"), [("Token", "my-api-key"), ("Grpc-Metadata-Token", "abc"), ("Macaroon", "")])
def test_headers_of_other_software_are_not_taken_for_ours(name: str, value: str) -> None:
    assert read_credentials([(name, value)]) == NOTHING
    assert credential_text([(name, value)]) is None


def test_nothing_secret_is_in_the_repr() -> None:
    shown = repr(read(A.header))
    assert X not in shown
    assert repr(A.preimage) not in shown
    assert T not in shown


def test_credential_text_is_none_without_a_credential_header() -> None:
    assert credential_text([]) is None
    assert credential_text([("Host", "l402"), ("X-L402", T), ("Authorization", "Bearer abc")]) is None


def test_credential_text_tells_credentials_apart() -> None:
    shown = [
        [("Authorization", A.header)],
        [("Authorization", B.header)],
        [("Authorization", f"LSAT {T}:{X}")],
        [("Authorization", A.header), ("Authorization", B.header)],
        [("Authorization", B.header), ("Authorization", A.header)],
        [("Macaroon", WITH_PREIMAGE.hex())],
        [("Token", WITH_PREIMAGE.hex())],
        [("Authorization", "Bearer l402"), ("Macaroon", WITH_PREIMAGE.hex())],
    ]
    assert len({credential_text(headers) for headers in shown}) == len(shown)


def test_credential_text_ignores_headers_that_change_with_every_request() -> None:
    calm = credential_text([("authorization", A.header)])
    assert calm == credential_text([("X-Request-Id", "1"), ("Authorization", A.header), ("Authorization", "Bearer 2")])


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Authorization", "authorization", "Macaroon", "Token", "Host"]),
        st.one_of(
            st.sampled_from([A.header, B.header, "Bearer x", "LSAT", WITH_PREIMAGE.hex(), "02"]),
            st.text(alphabet='L402SATlsat :,="x\t', max_size=30),
        ),
    ),
    max_size=4,
)


@given(HEADERS, HEADERS)
def test_requests_with_the_same_credential_text_show_the_same_credentials(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    if credential_text(one) is None:
        assert read_credentials(one) == NOTHING
    if credential_text(one) == credential_text(other):
        assert read_credentials(one) == read_credentials(other)


SEEDS = (
    f"L402 {T}:{X}",
    f'Digest a="b, c", LSAT {T}:{X}, L402 {T}:{X}',
    f"L402 {T},{B.text}:{LONG_PROOF}, Bearer abc",
    WITH_PREIMAGE.hex(),
)
NAMES = ("Authorization", "Authorization", "Authorization", "Macaroon", "Token")


@settings(max_examples=int(20_000 * SCALE))
@given(st.binary(min_size=1, max_size=40))
def test_fuzzed_credentials_are_read_or_malformed_and_never_raise(program: bytes) -> None:
    which = program[0] % (len(SEEDS) + 1)
    raw = program if which == len(SEEDS) else mutate(SEEDS[which].encode("latin-1"), program[1:])
    headers = [(NAMES[which], raw.decode("latin-1"))]
    presented = read_credentials(headers)
    assert presented.present == bool(presented.credentials or presented.malformed)
    assert not presented.present or credential_text(headers) is not None
    assert len(presented.credentials) <= MAX_CREDENTIALS
    for credential in presented.credentials:
        assert len(credential.preimage) == 32
        assert 1 <= len(credential.macaroons) <= MAX_TOKENS


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=40)), max_size=6))
def test_any_headers_are_read_without_an_exception(headers: list[tuple[str, str]]) -> None:
    read_credentials([("Authorization", value) for _, value in headers] + headers)
    credential_text(headers)


@pytest.mark.parametrize("unit", ["L402 ", ",", '"', '\\"', 'a="', "L402,", "LSAT a:b,", "=", " ", "A", "l402 L402,x:"])
def test_hostile_headers_take_time_linear_in_their_length(unit: str) -> None:
    line = ("L402 " + unit * 16_384)[:16_384]
    begun = time.process_time()
    for _ in range(10):
        read(line)
    assert time.process_time() - begun < 1.0, "10 readings of 16 KiB; a quadratic reader takes far longer"
