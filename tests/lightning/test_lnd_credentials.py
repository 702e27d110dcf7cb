"""Reading the certificate and the macaroon, and the rights that a macaroon carries."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import NodeRefusedCredentials
from gateway.lightning.lnd.credentials import excess, read_credentials, rights
from gateway.lightning.settings import FromFile, Inline, LndSettings, Material
from tests.lightning.lnd_wire import authority, bake

# As lnd 0.21 wrote them on a regtest node that is long gone.
INVOICE_MACAROON = bytes.fromhex(
    "0201036c6e640258030a101940ef92abd0333c4f7b2f1d0b0cbb691201301a160a0761646472657373120472656164120577726974651a17"
    "0a08696e766f69636573120472656164120577726974651a0f0a076f6e636861696e1204726561640000062000000000000000000000000000"
    "00000000000000000000000000000000000000"
)


@pytest.mark.parametrize(
    ("macaroon", "expected"),
    [
        (bake("invoices:read", "invoices:write"), {"invoices:read", "invoices:write"}),
        (INVOICE_MACAROON, {"address:read", "address:write", "invoices:read", "invoices:write", "onchain:read"}),
        (bake("uri:/lnrpc.Lightning/AddInvoice"), {"uri:/lnrpc.Lightning/AddInvoice"}),
    ],
)
def test_the_rights_in_a_macaroon_are_read(macaroon: bytes, expected: frozenset[str] | set[str]) -> None:
    assert rights(macaroon) == frozenset(expected)


@pytest.mark.parametrize(
    "macaroon",
    [
        b"",
        b"\x02",
        b"garbage",
        b"MDAxY2xvY2F0aW9uIGxzYXQK",
        b"\x02\x01\x03lnd\x02\x05\x02abcd\x00\x00",  # a bakery V2 identifier
        b"\x02\x01\x03lnd\x02\x7f\x03abcd",  # cut short
        b"\x02\x09\x03lnd",
        b"\x02\x02\x03\x03\xff\xff\x00\x00",  # no protobuf inside
        b"\x02\x02\x01\x03\x00\x00",  # no rights
        INVOICE_MACAROON[:40],
    ],
)
def test_rights_that_cannot_be_told_are_none_and_not_guessed(macaroon: bytes) -> None:
    assert rights(macaroon) is None
    assert excess(macaroon) == ()


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\x02\x01\x03lnd\x02" + tail))
def test_no_bytes_make_the_reading_of_rights_fail(macaroon: bytes) -> None:
    found = rights(macaroon)
    assert found is None or all(":" in right for right in found)


@pytest.mark.parametrize(
    ("carried", "too_much"),
    [
        (("invoices:read", "invoices:write"), ()),
        (("invoices:read", "invoices:write", "info:read"), ()),
        (("uri:/lnrpc.Lightning/AddInvoice", "uri:/lnrpc.Lightning/LookupInvoice"), ()),
        (("invoices:write", "offchain:write", "macaroon:generate"), ("macaroon:generate", "offchain:write")),
        (("uri:/lnrpc.Lightning/SendCoins",), ("uri:/lnrpc.Lightning/SendCoins",)),
    ],
)
def test_only_rights_that_a_gateway_has_no_use_for_are_excess(
    carried: tuple[str, ...], too_much: tuple[str, ...]
) -> None:
    assert excess(bake(*carried)) == too_much


def _settings(certificate: Material, macaroon: Material) -> LndSettings:
    return LndSettings(network="regtest", address="127.0.0.1:1", tls_cert=certificate, macaroon=macaroon)


def test_files_and_inline_material_are_read_alike(tmp_path: Path) -> None:
    certificate, macaroon = tmp_path / "tls.cert", tmp_path / "gateway.macaroon"
    certificate.write_bytes(authority().cert_pem.bytes())
    macaroon.write_bytes(bake("invoices:write"))
    inline = _settings(Inline(authority().cert_pem.bytes()), Inline(bake("invoices:write")))
    assert read_credentials(_settings(FromFile(certificate), FromFile(macaroon))) == read_credentials(inline)


@pytest.mark.parametrize(
    "content", [b"not PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff"]
)
def test_a_certificate_that_is_none_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tls.cert"
    path.write_bytes(content)
    with pytest.raises(NodeRefusedCredentials, match=r"tls_cert .*tls.cert is not a PEM certificate"):
        read_credentials(_settings(FromFile(path), Inline(b"x")))


def test_the_missing_file_is_named(tmp_path: Path) -> None:
    good = Inline(authority().cert_pem.bytes())
    with pytest.raises(NodeRefusedCredentials, match=r"cannot read macaroon .*gone\.macaroon: No such file"):
        read_credentials(_settings(good, FromFile(tmp_path / "gone.macaroon")))
    with pytest.raises(NodeRefusedCredentials, match=r"cannot read tls_cert .*gone\.cert: No such file"):
        read_credentials(_settings(FromFile(tmp_path / "gone.cert"), Inline(b"x")))
    with pytest.raises(NodeRefusedCredentials, match=r"cannot read macaroon .*: Is a directory"):
        read_credentials(_settings(good, FromFile(tmp_path)))


def test_an_empty_macaroon_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for material in (Inline(b""), FromFile(tmp_path / "empty")):
        with pytest.raises(NodeRefusedCredentials, match=r"macaroon.* is empty"):
            read_credentials(_settings(Inline(authority().cert_pem.bytes()), material))


def test_a_macaroon_is_never_shown() -> None:
    credentials = read_credentials(_settings(Inline(authority().cert_pem.bytes()), Inline(b"secret-macaroon")))
    assert "secret-macaroon" not in repr(credentials)
