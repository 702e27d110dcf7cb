from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ChallengeError
from gateway.l402 import bolt11
from gateway.l402.challenge import Challenge, format_challenge, parse_challenges
from gateway.l402.tokens import decode_token, encode_token
from tests.conftest import SCALE
from tests.l402.samples import mutate, sell

RAW = sell().raw
T = encode_token(RAW)
P = "lnbcrt15u1pexample"
LINE = f'L402 macaroon="{T}", invoice="{P}", version="0", token="{T}"'
ONE = (Challenge(T, P),)
AS_LSAT = (Challenge(T, P, "LSAT"),)
OTHER = f'L402 token="AAAA", invoice="{P}"'


def refused(lines: Sequence[str]) -> bool:
    try:
        parse_challenges(lines)
    except ChallengeError:
        return True
    return False


def test_L10_L15_L17_the_challenge_is_written_as_every_client_reads_it() -> None:
    assert format_challenge(RAW, P) == LINE
    assert T.endswith("=") or len(T) % 4 == 0


def test_L12_L13_the_scheme_is_upper_case_and_the_version_a_quoted_zero() -> None:
    line = format_challenge(RAW, P)
    assert line.startswith("L402 macaroon=")
    assert ', version="0", ' in line


def test_L25_no_realm_is_sent() -> None:
    assert "realm" not in format_challenge(RAW, P)


@given(st.binary(min_size=1, max_size=300), st.from_regex(r"ln[a-z0-9]{1,40}", fullmatch=True))
def test_a_challenge_that_we_write_reads_back_the_same(raw: bytes, invoice: str) -> None:
    (challenge,) = parse_challenges([format_challenge(raw, invoice)])
    assert challenge == Challenge(encode_token(raw), invoice, "L402")
    assert decode_token(challenge.token) == raw


@pytest.mark.parametrize(
    "invoice",
    [
        "",
        "ln",
        "lnbc1 x",
        'lnbc1"',
        "lnbc1\r\nSet-Cookie: a=b",
        "lnbc1\\",
        "LNBC1X",
        "bc1x",
        "lnbc1é",
        "ln" + "a" * bolt11.MAX_LENGTH,
    ],
)
def test_nothing_but_an_invoice_gets_into_the_header(invoice: str) -> None:
    with pytest.raises(ValueError, match="invoice"):
        format_challenge(RAW, invoice)


@pytest.mark.parametrize("raw", [b"", bytes(6_145)])
def test_a_token_that_no_header_can_carry_is_not_written(raw: bytes) -> None:
    with pytest.raises(ValueError, match="token"):
        format_challenge(raw, P)


@given(st.binary(max_size=64), st.text(max_size=64))
def test_whatever_is_put_into_a_challenge_reads_back_or_is_refused(raw: bytes, invoice: str) -> None:
    try:
        line = format_challenge(raw, invoice)
    except ValueError:
        return
    assert line.isascii()
    assert parse_challenges([line]) == (Challenge(encode_token(raw), invoice),)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([LINE], ONE, id="L10-ours"),
        pytest.param([f'L402 version="0", token="{T}", invoice="{P}"'], ONE, id="L10-form-of-2026"),
        pytest.param([f'L402 macaroon="{T}", invoice="{P}"'], ONE, id="L11-form-of-2023"),
        pytest.param([f'l402 MACAROON="{T}",INVOICE="{P}"'], ONE, id="L12-any-case"),
        pytest.param([f'L402 token="{T}", invoice="{P}", x="1", y=2, realm="a, b"'], ONE, id="L14-unknown-parameters"),
        pytest.param([f'L402 invoice="{P}", version="0", token="{T}"'], ONE, id="L20-any-order"),
        pytest.param([f"L402 token={T}, invoice={P}"], ONE, id="L20-unquoted"),
        pytest.param([f'L402 token = "{T}" ,\tinvoice\t=\t{P}'], ONE, id="L20-white-space-around-equals"),
        pytest.param([f'L402   token="{T}",invoice="{P}"'], ONE, id="L20-several-spaces"),
        pytest.param([f',, L402 token="{T}",, invoice="{P}",'], ONE, id="L20-empty-list-elements"),
        pytest.param([f'L402 token="\\{T}", invoice="l\\n{P[2:]}"'], ONE, id="L20-escapes-in-quoted-strings"),
        pytest.param([f'LSAT macaroon="{T}", invoice="{P}"'], AS_LSAT, id="L23-LSAT"),
        pytest.param([f'L402 token="{T}", invoice="{P.upper()}"'], ONE, id="upper-case-invoice"),
        pytest.param([f'LSAT macaroon="{T}", invoice="{P}"', LINE], AS_LSAT, id="one-offer-in-two-lines"),
        pytest.param([f'LSAT macaroon="{T}", invoice="{P}", {LINE}'], AS_LSAT, id="one-offer-folded"),
        pytest.param([f'Bearer realm="x", {LINE}'], ONE, id="behind-Bearer"),
        pytest.param(["Negotiate", LINE], ONE, id="behind-a-bare-scheme"),
        pytest.param([f"Negotiate, {LINE}"], ONE, id="behind-a-bare-scheme-folded"),
        pytest.param([f"NTLM TlRMTVNTUAA=, {LINE}, Basic realm=x"], ONE, id="between-token68-and-Basic"),
        pytest.param([f'{LINE}, Payment id="1", invoice="lnbc1other"'], ONE, id="schemes-keep-their-own-invoice"),
        pytest.param([f'Digest realm="a \\", L402 token=x", {LINE}'], ONE, id="not-inside-a-quoted-string"),
        pytest.param([f'L402 token="{T}", invoice="{P}", {OTHER}'], (*ONE, Challenge("AAAA", P)), id="two-offers"),
        pytest.param([LINE, 'Basic realm="never closed'], ONE, id="a-broken-line-beside-it"),
        pytest.param([f'{LINE}, Basic realm="never closed'], ONE, id="a-broken-scheme-behind-it"),
        pytest.param([f'@@@, "x", {LINE}'], ONE, id="garbage-before-it"),
        pytest.param([f'L402 token="{T}" invoice="{P}"'], ONE, id="a-comma-forgotten"),
    ],
)  # fmt: skip
def test_L20_L21_challenges_of_every_known_shape_are_read(lines: list[str], expected: tuple[Challenge, ...]) -> None:
    assert parse_challenges(lines) == expected


def test_L11_the_form_of_2023_is_read_and_its_parameters_come_first_in_ours() -> None:
    assert parse_challenges([f'L402 macaroon="{T}", invoice="{P}"']) == ONE
    assert format_challenge(RAW, P).startswith(f'L402 macaroon="{T}", invoice="{P}", ')


@pytest.mark.parametrize("unknown", ['realm="a, b"', "x=1", 'preimage=""', 'version="99"', 'y="\\""', "z"])
def test_L14_unknown_parameters_are_ignored(unknown: str) -> None:
    assert parse_challenges([f'L402 token="{T}", invoice="{P}", {unknown}']) == ONE


@pytest.mark.parametrize("scheme", ["LSAT", "lsat", "Lsat"])
def test_L23_an_LSAT_challenge_is_read_and_answered_as_LSAT(scheme: str) -> None:
    assert parse_challenges([f'{scheme} macaroon="{T}", invoice="{P}"']) == AS_LSAT


@pytest.mark.parametrize("name", ["token", "macaroon"])
def test_L21_L22_token_and_macaroon_mean_the_same(name: str) -> None:
    assert parse_challenges([f'L402 {name}="{T}", invoice="{P}"']) == ONE


def test_L72_a_token_that_is_no_macaroon_is_kept_as_it_was_sent() -> None:
    (challenge,) = parse_challenges([f'L402 token="eyJhbGciOiJIUzI1NiJ9.e30.x_-~", invoice="{P}"'])
    assert challenge.token == "eyJhbGciOiJIUzI1NiJ9.e30.x_-~"


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="no-line"),
        pytest.param([""], id="empty-line"),
        pytest.param(["L402"], id="scheme-only"),
        pytest.param(["L402 abc"], id="token68"),
        pytest.param([f'L402 token="{T}"'], id="no-invoice"),
        pytest.param([f'L402 invoice="{P}"'], id="no-token"),
        pytest.param([f'token="{T}", invoice="{P}"'], id="no-scheme"),
        pytest.param([f'L403 token="{T}", invoice="{P}"'], id="another-scheme"),
        pytest.param([f'L402 token="{T}", macaroon="AAAA", invoice="{P}"'], id="token-and-macaroon-differ"),
        pytest.param([f'L402 token="{T}", invoice="{P}", invoice="lnbc1other"'], id="two-invoices"),
        pytest.param([f'L402 token="{T}", token="{T}", invoice="{P}"'], id="repeated-token"),
        pytest.param([f'L402 token="", invoice="{P}"'], id="empty-token"),
        pytest.param([f'L402 token="a:b", invoice="{P}"'], id="colon-in-the-token"),
        pytest.param([f'L402 token="a\\"b", invoice="{P}"'], id="quote-in-the-token"),
        pytest.param([f'L402 token="{T}", invoice="lnbc1\x00"'], id="control-character"),
        pytest.param([f'L402 token="{T}", invoice="LNbc1"'], id="mixed-case-invoice"),
        pytest.param([f'L402 token="{T}", invoice="http://x"'], id="no-invoice-at-all"),
        pytest.param([f'L402 token="{T}", invoice="{P}'], id="quote-never-closed"),
        pytest.param([f'Basic realm="open, L402 token={T}, invoice={P}'], id="behind-a-quote-never-closed"),
        pytest.param([f'Bearer L402, token="{T}", invoice="{P}"'], id="a-token68-that-looks-like-a-scheme"),
        pytest.param([f'L402 token="{T}", @@@, invoice="{P}"'], id="garbage-between"),
        pytest.param([LINE] * 17, id="too-many-lines"),
        pytest.param([LINE + " " * 32_768], id="too-long"),
        pytest.param([LINE + ", a=1" * 300], id="too-many-parameters"),
        pytest.param([LINE + ", a" * 300], id="too-many-schemes"),
        pytest.param([f'L402 token="{T}", invoice="ln{"a" * bolt11.MAX_LENGTH}"'], id="invoice-too-long"),
    ],
)  # fmt: skip
def test_an_answer_without_a_usable_challenge_is_an_error(lines: list[str]) -> None:
    with pytest.raises(ChallengeError):
        parse_challenges(lines)


def test_the_repr_of_a_challenge_hides_the_token() -> None:
    assert T not in repr(parse_challenges([LINE])[0])


SEEDS = (
    LINE,
    f'Digest realm="a \\" b", {LINE}, NTLM AAAA=',
    f"LSAT macaroon={T}, invoice={P}",
    'A b="c", D e=f, G h==',
)


@settings(max_examples=int(20_000 * SCALE))
@given(st.binary(min_size=1, max_size=40))
def test_fuzzed_challenges_give_offers_or_a_challenge_error(program: bytes) -> None:
    which = program[0] % (len(SEEDS) + 1)
    raw = program if which == len(SEEDS) else mutate(SEEDS[which].encode("latin-1"), program[1:])
    try:
        challenges = parse_challenges([raw.decode("latin-1")])
    except ChallengeError:
        return
    for challenge in challenges:
        assert challenge.scheme in {"L402", "LSAT"}
        assert challenge.token.isascii()
        assert not set(challenge.token) & set(' ",:\r\n')
        assert challenge.invoice.startswith("ln")
        assert challenge.invoice.isalnum()


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_text_gives_offers_or_a_challenge_error(lines: list[str]) -> None:
    try:
        challenges = parse_challenges(lines)
    except ChallengeError:
        return
    assert challenges


@pytest.mark.parametrize(
    "unit", ['"', '\\"', 'a="', "a ", "a,", "a=", " ", "=", '"\\', "a b ", 'a="b', 'x="\\"', "\x00", "L402 ", "é"]
)  # fmt: skip
def test_hostile_lines_take_time_linear_in_their_length(unit: str) -> None:
    line = ("L402 x=1, y " + unit * 32_768)[:32_768]
    begun = time.process_time()
    refused([line])
    assert time.process_time() - begun < 1.0, "a quadratic parser takes minutes"
