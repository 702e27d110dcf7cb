"""Invoices written by others: BOLT 11's own examples, and what L402 servers and clients keep in their test suites."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.errors import InvoiceError
from gateway.l402 import bolt11
from gateway.lightning.bolt11_signing import recover_payee


@dataclass(frozen=True)
class Vector:
    invoice: str
    network: str
    msat: int | None
    payment_hash: str
    timestamp: int
    description: str | None
    expiry_s: int = 3600
    description_hash: str | None = None
    preimage: str | None = None
    final_cltv: int | None = None
    secret: str | None = None


SPEC_HASH = "0001020304050607080900010203040506070809000102030405060708090102"
SPEC_PAYEE = "03e7156ae33b0a208d0744199163177e909e80176e55d97a2f221ede0f934dd9ad"

SPEC = {
    "donation": Vector(
        "lnbc1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvu"
        "s8g6rfwvs8qun0dfjkxaq8rkx3yf5tcsyz3d73gafnh3cax9rn449d9p5uxz9ezhhypd0elx87sjle52x86fux2ypatgddc6k63n7erqz25le42c"
        "4u4ecky03ylcqca784w",
        "mainnet",
        None,
        SPEC_HASH,
        1496314658,
        "Please consider supporting this project",
    ),
    "one minute": Vector(
        "lnbc2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpuaztrnwngzn3k"
        "dzw5hydlzf03qdgm2hdq27cqv3agm2awhz5se903vruatfhq77w3ls4evs3ch9zw97j25emudupq63nyw24cg27h2rspfj9srp",
        "mainnet",
        250_000_000,
        SPEC_HASH,
        1496314658,
        "1 cup coffee",
        expiry_s=60,
    ),
    "not ASCII": Vector(
        "lnbc2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpu"
        "yk0sg5g70me25alkluzd2x62aysf2pyy8edtjeevuv4p2d5p76r4zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpnl2jfll544esqchsrny",
        "mainnet",
        250_000_000,
        SPEC_HASH,
        1496314658,
        "ナンセンス 1杯",
        expiry_s=60,
    ),
    "hash first, then a fallback address": Vector(
        "lntb20m1pvjluezhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqc"
        "yq5rqwzqfqypqfpp3x9et2e20v6pu37c5d9vax37wxq72un98kmzzhznpurw9sgl2v0nklu2g4d0keph5t7tj9tcqd8rexnd07ux4uv2cjvcqwax"
        "gj7v4uwn5wmypjd5n69z2xm3xgksg28nwht7f6zspwp3f9t",
        "testnet",
        2_000_000_000,
        SPEC_HASH,
        1496314658,
        None,
        description_hash="3925b6f67e2c340036ed12093dd44e0368df1b6ea26c53dbe4811f58fd5db8c1",
    ),
    "features and a secret": Vector(
        "lnbc25m1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5vdhkven9v5sxyetpdeessp5zyg3zyg3zyg3zyg3"
        "zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9q5sqqqqqqqqqqqqqqqpqsq67gye39hfg3zd8rgc80k32tvy9xk2xunwm5lzexnvpx6fd77en8qa"
        "q424dxgt56cag2dpt359k3ssyhetktkpqh24jqnjyw6uqd08sgptq44qu",
        "mainnet",
        2_500_000_000,
        SPEC_HASH,
        1496314658,
        "coffee beans",
        secret="11" * 32,
    ),
    "pico-bitcoin and a route": Vector(
        "lnbc9678785340p1pwmna7lpp5gc3xfm08u9qy06djf8dfflhugl6p7lgza6dsjxq454gxhj9t7a0sd8dgfkx7cmtwd68yetpd5s9xar0wfjn5gp"
        "c8qhrsdfq24f5ggrxdaezqsnvda3kkum5wfjkzmfqf3jkgem9wgsyuctwdus9xgrcyqcjcgpzgfskx6eqf9hzqnteypzxz7fzypfhg6trddjhygr"
        "cyqezcgpzfysywmm5ypxxjemgw3hxjmn8yptk7untd9hxwg3q2d6xjcmtv4ezq7pqxgsxzmnyyqcjqmt0wfjjq6t5v4khxxqyjw5qcqp2rzjq0gx"
        "wkzc8w6323m55m4jyxcjwmy7stt9hwkwe2qxmy8zpsgg7jcuwz87fcqqeuqqqyqqqqlgqqqqn3qq9qn07ytgrxxzad9hc4xt3mawjjt8znfv8xzs"
        "cs7007v9gh9j569lencxa8xeujzkxs0uamak9aln6ez02uunw6rd2ht2sqe4hz8thcdagpleym0j",
        "mainnet",
        967_878_534,
        "462264ede7e14047e9b249da94fefc47f41f7d02ee9b091815a5506bc8abf75f",
        1572468703,
        'Blockstream Store: 88.85 USD for Blockstream Ledger Nano S x 1, "Back In My Day" Sticker x 2, '
        '"I Got Lightning Working" Sticker x 2 and 1 more items',
        expiry_s=604_800,
        final_cltv=10,
    ),
}

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "vectors.json").read_text())["bolt11"]
NETWORKS = {"bc": "mainnet", "tb": "testnet", "tbs": "signet", "bcrt": "regtest"}

FIELD = {
    entry["name"]: Vector(
        entry["invoice"],
        NETWORKS[entry["net"]],
        entry["msat"],
        entry["payment_hash"],
        entry["timestamp"],
        entry["description"],
        expiry_s=entry["expiry"] or 3600,
        description_hash=entry["description_hash"],
        preimage=entry["preimage"],
    )
    for entry in VECTORS
    if entry["checksum_ok"]
}

REFUSED = {
    "wrong checksum": (
        (
            "lnbc2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpu"
            "yk0sg5g70me25alkluzd2x62aysf2pyy8edtjeevuv4p2d5p76r4zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpnl2jfll544esqchsrnt"
        ),
        "checksum",
    ),
    "no separator": (
        (
            "pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpuyk0sg5g70m"
            "e25alkluzd2x62aysf2pyy8edtjeevuv4p2d5p76r4zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpnl2jfll544esqchsrny"
        ),
        "no prefix",
    ),
    "mixed case": (
        (
            "LNBC2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpu"
            "yk0sg5g70me25alkluzd2x62aysf2pyy8edtjeevuv4p2d5p76r4zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpnl2jfll544esqchsrny"
        ),
        "case",
    ),
    "too short": (
        (
            "lnbc1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6na6h"
            "lh"
        ),
        "cut short|too short",
    ),
    "unknown multiplier": (
        (
            "lnbc2500x1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpujr6jxr9gq9pv"
            "6g46y7d20jfkegkg4gljz2ea2a3m9lmvvr95tq2s0kvu70u3axgelz3kyvtp2ywwt0y8hkx2869zq5dll9nelr83zzqqpgl2zg"
        ),
        "prefix",
    ),
    "less than a millisatoshi": (
        (
            "lnbc2500000001p1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu7hqtk9"
            "3pkf7sw55rdv4k9z2vj050rxdr6za9ekfs3nlt5lr89jqpdmxsmlj9urqumg0h9wzpqecw7th56tdms40p2ny9q4ddvjsedzcplva53s"
        ),
        "whole number of millisatoshi",
    ),
} | {entry["name"]: (entry["invoice"], "checksum") for entry in VECTORS if not entry["checksum_ok"]}

UNRECOVERABLE = (
    "lnbc2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpuaxtrnwngzn3kdzw5"
    "hydlzf03qdgm2hdq27cqv3agm2awhz5se903vruatfhq77w3ls4evs3ch9zw97j25emudupq63nyw24cg27h2rspk28uwq"
)


def hexed(raw: bytes | None) -> str | None:
    return None if raw is None else raw.hex()


def test_nine_invoices_were_collected_and_one_of_them_is_broken_on_purpose() -> None:
    assert (len(VECTORS), len(FIELD)) == (9, 8)


@pytest.mark.parametrize("name", [*SPEC, *FIELD])
def test_an_invoice_written_by_others_is_read(name: str) -> None:
    vector = (SPEC | FIELD)[name]
    invoice = bolt11.decode(vector.invoice)
    assert invoice.network == vector.network
    assert invoice.amount_msat == vector.msat
    assert invoice.payment_hash.hex() == vector.payment_hash
    assert invoice.timestamp == vector.timestamp
    assert invoice.expiry_s == vector.expiry_s
    assert invoice.expires_at == vector.timestamp + vector.expiry_s
    assert invoice.description == vector.description
    assert hexed(invoice.description_hash) == vector.description_hash
    if vector.final_cltv is not None:
        assert invoice.min_final_cltv == vector.final_cltv
    if vector.secret is not None:
        assert hexed(invoice.payment_secret) == vector.secret
    if vector.preimage is not None:
        assert hashlib.sha256(bytes.fromhex(vector.preimage)).digest() == invoice.payment_hash


@pytest.mark.parametrize("name", SPEC)
def test_an_invoice_is_read_in_upper_case_too(name: str) -> None:
    assert bolt11.decode(SPEC[name].invoice.upper()) == bolt11.decode(SPEC[name].invoice)


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_invoice_is_refused(name: str) -> None:
    text, reason = REFUSED[name]
    with pytest.raises(InvoiceError, match=reason) as refused:
        bolt11.decode(text)
    assert text[:20] not in str(refused.value)


@pytest.mark.parametrize("name", [name for name in SPEC if "route" not in name])
def test_the_payee_is_recovered_from_the_signature(name: str) -> None:
    assert recover_payee(SPEC[name].invoice).hex() == SPEC_PAYEE


def test_the_payee_of_the_field_is_the_signer() -> None:
    text = FIELD["validatePreimage"].invoice
    assert bolt11.decode(text).payee == recover_payee(text)


def test_a_void_signature_has_no_payee() -> None:
    assert bolt11.decode(UNRECOVERABLE).payee is None
    with pytest.raises(InvoiceError, match="signature is void"):
        recover_payee(UNRECOVERABLE)
