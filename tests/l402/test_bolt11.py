"""The rules of BOLT 11 one by one, round trips, and fuzzing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import InvoiceError
from gateway.l402 import bech32, bolt11
from gateway.l402.amounts import MAX_MSAT, Msat
from gateway.lightning.bolt11_signing import Draft, NodeKey, recover_payee
from tests.conftest import SCALE

KEY = NodeKey(bytes(31) + b"\x07")
TIME = bech32.from_number(1_700_000_000, 7)
HASH_FIELD = "pp5" + bech32.from_bytes(bytes(range(32)))
SIGNATURE = "q" * 104


def field(kind: str, words: str) -> str:
    return kind + bech32.from_number(len(words), 2) + words


def invoice(fields: str = HASH_FIELD, hrp: str = "lnbcrt10u") -> str:
    """Well-formed bech32 around any fields; the signature is void."""
    return bech32.encode(hrp, TIME + fields + SIGNATURE)


def draft(**changes: object) -> Draft:
    values: dict[str, object] = {
        "network": "regtest",
        "amount_msat": Msat(1500),
        "payment_hash": bytes(range(32)),
        "payment_secret": bytes(range(32, 64)),
        "description": "weather: default",
        "timestamp": 1_700_000_000,
        "expiry_s": 600,
    }
    return Draft(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "msat"),
    [
        ("", None),
        ("1m", 100_000_000),
        ("2500u", 250_000_000),
        ("1n", 100),
        ("15n", 1_500),
        ("10p", 1),
        ("12340p", 1_234),
        ("1", 100_000_000_000),
        ("21000000", MAX_MSAT),
    ],
)
def test_an_amount_is_read_to_the_millisatoshi(amount: str, msat: int | None) -> None:
    assert bolt11.decode(invoice(hrp=f"lnbcrt{amount}")).amount_msat == msat


@pytest.mark.parametrize(
    "amount",
    [
        "0",
        "0m",
        "01m",
        "00",
        "1p",
        "15p",
        "1x",
        "1mm",
        "m",
        "p",
        "1 m",
        "+1m",
        "-1m",
        "1.5m",
        "21000001",
        "1" + "0" * 19,
    ],
)
def test_a_malformed_amount_is_refused(amount: str) -> None:
    with pytest.raises(InvoiceError):
        bolt11.decode(invoice(hrp=f"lnbc{amount}"))


@pytest.mark.parametrize(
    ("prefix", "network"), [("bc", "mainnet"), ("tb", "testnet"), ("tbs", "signet"), ("bcrt", "regtest")]
)
@pytest.mark.parametrize("amount", ["", "1m"])
def test_each_network_has_its_prefix(prefix: str, network: str, amount: str) -> None:
    assert bolt11.decode(invoice(hrp=f"ln{prefix}{amount}")).network == network


@pytest.mark.parametrize("prefix", ["bc", "ln", "lnsb", "lnb", "lnltc", "lntbrt", "xlnbc", "lnbcrts", "lno", "lni"])
def test_another_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(InvoiceError):
        bolt11.decode(invoice(hrp=f"{prefix}1m"))


def test_the_first_of_several_fields_counts() -> None:
    second = field("p", bech32.from_bytes(bytes(32)))
    fields = field("d", bech32.from_bytes(b"one")) + HASH_FIELD + second + field("d", bech32.from_bytes(b"two"))
    read = bolt11.decode(invoice(fields))
    assert (read.payment_hash, read.description) == (bytes(range(32)), "one")


@pytest.mark.parametrize("kind", ["p", "s", "h", "n"])
@pytest.mark.parametrize("words", [0, 51, 54])
def test_a_field_of_another_length_is_skipped(kind: str, words: int) -> None:
    right = 53 if kind == "n" else 52
    real = field(kind, "z" * (right - 1) + "q" * 1)
    if kind != "p":
        real += HASH_FIELD
    assert bolt11.decode(invoice(field(kind, "z" * words) + real)) == bolt11.decode(invoice(real))


def test_without_a_usable_payment_hash_there_is_no_invoice() -> None:
    for fields in ("", field("p", "q" * 51), field("d", bech32.from_bytes(b"x"))):
        with pytest.raises(InvoiceError, match="no payment hash"):
            bolt11.decode(invoice(fields))


def test_unknown_fields_are_skipped() -> None:
    fields = field("2", "qqq") + field("f", "q" * 33) + HASH_FIELD + field("r", "z" * 82) + field("t", "")
    assert bolt11.decode(invoice(fields)) == bolt11.decode(invoice())


def test_fields_that_are_absent_have_their_defaults() -> None:
    read = bolt11.decode(invoice())
    assert (read.expiry_s, read.min_final_cltv) == (3600, 18)
    assert (read.description, read.description_hash, read.payment_secret, read.payee) == (None,) * 4


@pytest.mark.parametrize(
    "fields",
    [
        HASH_FIELD + "d",
        HASH_FIELD + "dq",
        HASH_FIELD + "dqz",
        HASH_FIELD + "dqzp",
        HASH_FIELD[:-1],
        HASH_FIELD + "q" * 2,
        HASH_FIELD + "dll" + "q" * 900,
    ],
)
def test_a_field_that_is_cut_short_is_refused(fields: str) -> None:
    with pytest.raises(InvoiceError, match="cut short"):
        bolt11.decode(invoice(fields))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (field("d", bech32.from_bytes(b"\xff\xfe")), "UTF-8"),
        (field("d", "zz" + "l"), "padding"),
        (field("d", "q"), "padding"),
        (field("s", "q" * 51 + "l"), "padding"),
        (field("x", "l" * 14), "out of range"),
        (field("c", "l" * 1023), "out of range"),
    ],
)
def test_a_field_with_an_impossible_value_is_refused(fields: str, reason: str) -> None:
    with pytest.raises(InvoiceError, match=reason):
        bolt11.decode(invoice(HASH_FIELD + fields))


def test_an_invoice_is_at_most_7089_characters() -> None:
    filler = "".join(field("2", "q" * 1000) for _ in range(6))
    room = bolt11.MAX_LENGTH - len(invoice(HASH_FIELD + filler)) - 3
    longest = invoice(HASH_FIELD + filler + field("2", "q" * room))
    assert len(longest) == bolt11.MAX_LENGTH
    assert bolt11.decode(longest).payment_hash == bytes(range(32))
    with pytest.raises(InvoiceError, match="longer than"):
        bolt11.decode(invoice(HASH_FIELD + filler + field("2", "q" * (room + 1))))


@pytest.mark.parametrize(
    "text", ["", "1", "ln", "lnbc1", "lnbc1qqqqqq", "lightning:lnbc1", "lnbc1" + "é" * 300, "\x00"]
)
def test_text_that_is_no_invoice_is_refused(text: str) -> None:
    with pytest.raises(InvoiceError):
        bolt11.decode(text)


def test_the_checksum_is_the_one_of_bip_173() -> None:
    for text in (
        "a12uel5l",
        "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
    ):
        hrp, _, words = text.rpartition("1")
        assert bech32.encode(hrp, words[:-6]) == text
        assert bech32.decode(text, 100) == (hrp, words[:-6])


drafts = st.builds(
    Draft,
    network=st.sampled_from(sorted(bolt11.PREFIXES)),
    amount_msat=st.none() | st.integers(1, MAX_MSAT).map(Msat) | st.integers(1, 210_000).map(lambda n: Msat(n * 100)),
    payment_hash=st.binary(min_size=32, max_size=32),
    payment_secret=st.binary(min_size=32, max_size=32),
    description=st.text(max_size=40),
    timestamp=st.integers(0, 2**35 - 1),
    expiry_s=st.integers(0, 2**40),
    min_final_cltv=st.integers(0, 2016),
)


@settings(max_examples=max(1, int(500 * SCALE)))
@given(drafts)
def test_what_was_signed_is_what_is_read(wanted: Draft) -> None:
    text = KEY.sign(wanted)
    read = bolt11.decode(text)
    for name in (
        "network",
        "amount_msat",
        "payment_hash",
        "payment_secret",
        "description",
        "timestamp",
        "expiry_s",
        "min_final_cltv",
    ):
        assert getattr(read, name) == getattr(wanted, name), name
    assert recover_payee(text) == KEY.node_id
    assert bolt11.decode(text.upper()) == read


@pytest.mark.parametrize(
    ("msat", "written"),
    [(1, "10p"), (100, "1n"), (1_500, "15n"), (10_000, "100n"), (100_000, "1u"), (10**11, "1"), (15 * 10**10, "1500m")],
)
def test_an_amount_is_written_with_the_largest_unit(msat: int, written: str) -> None:
    assert KEY.sign(draft(amount_msat=Msat(msat))).startswith(f"lnbcrt{written}1p")


@pytest.mark.parametrize(
    "changes", [{"amount_msat": Msat(0)}, {"timestamp": 2**35}, {"expiry_s": -1}, {"description": "x" * 640}]
)
def test_what_an_invoice_has_no_room_for_is_not_signed(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        KEY.sign(draft(**changes))


def test_the_signature_covers_every_field() -> None:
    text = KEY.sign(draft())
    hrp, words = bech32.decode(text, bolt11.MAX_LENGTH)
    dearer = bech32.encode(hrp.replace("15n", "16n"), words)
    later = bech32.encode(hrp, bech32.from_number(1_700_000_001, 7) + words[7:])
    assert recover_payee(text) == KEY.node_id
    for forged in (dearer, later):
        assert bolt11.decode(forged).payment_hash == bytes(range(32))
        assert signer(forged) != KEY.node_id


def signer(text: str) -> bytes | None:
    try:
        return recover_payee(text)
    except InvoiceError:
        return None


def test_a_payee_that_did_not_sign_is_refused() -> None:
    other = NodeKey(bytes(31) + b"\x08").node_id
    _, words = bech32.decode(KEY.sign(draft()), bolt11.MAX_LENGTH)
    with pytest.raises(InvoiceError, match="not the payee's"):
        recover_payee(bech32.encode("lnbcrt15n", words[:-104] + field("n", bech32.from_bytes(other)) + words[-104:]))


def test_the_node_key_is_not_shown() -> None:
    secret = b"\x01" * 31 + b"\x07"
    assert secret.hex() not in repr(NodeKey(secret)) + str(vars(NodeKey(secret)))


def test_any_one_wrong_character_is_found() -> None:
    text = KEY.sign(draft())
    for at in range(len(text)):
        for wrong in bech32.ALPHABET + "1bio":
            if wrong != text[at]:
                with pytest.raises(InvoiceError):
                    bolt11.decode(text[:at] + wrong + text[at + 1 :])


HRPS = ("lnbc", "lnbc1m", "lntbs10p", "lnbcrt15n", "lntb9", "lnbc00u", "lnsb1m", "x", "lnbcrt99999999999999999999p")
SIGNED_HRP, SIGNED_WORDS = bech32.decode(KEY.sign(draft()), bolt11.MAX_LENGTH)


def as_words(raw: bytes) -> str:
    return "".join(bech32.ALPHABET[byte & 31] for byte in raw)


def any_words(raw: bytes) -> str:
    return bech32.encode(HRPS[raw[0] % len(HRPS)], as_words(raw[1:]))


def any_fields(raw: bytes) -> str:
    parts = raw[1:].split(b"\x00")
    fields = "".join(field("pdhxsnc92rf"[part[0] % 11], as_words(part[1:])) for part in parts if part)
    return invoice(HASH_FIELD * (raw[0] & 1) + fields, hrp=HRPS[raw[0] % len(HRPS)])


def changed_words(raw: bytes) -> str:
    """A signed invoice with some words changed, under a checksum that is right again."""
    words = list(SIGNED_WORDS)
    for at, value in zip(raw[0:20:2], raw[1:20:2], strict=False):
        words[(at * 256 + value // 32) % len(words)] = bech32.ALPHABET[value & 31]
    return bech32.encode(SIGNED_HRP, "".join(words[: len(words) - raw[0] % 3]))


def any_text(raw: bytes) -> str:
    return raw.decode("latin-1")


@settings(max_examples=max(1, int(20_000 * SCALE)))
@given(st.binary(min_size=2, max_size=100))
def test_nothing_but_invoice_errors_come_out(raw: bytes) -> None:
    text = (any_words, any_fields, changed_words, any_text)[raw[0] & 3](raw[1:])
    try:
        read = bolt11.decode(text)
    except InvoiceError:
        return
    assert len(read.payment_hash) == 32
    assert read.amount_msat is None or 0 < read.amount_msat <= MAX_MSAT
    signer(text)
