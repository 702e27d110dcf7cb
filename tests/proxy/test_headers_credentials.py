from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given, settings

from gateway.l402.credentials import read_credentials
from gateway.proxy.credential_fields import without_l402, without_l402_macaroon
from gateway.proxy.headers import upstream_headers
from gateway.proxy.services import Origin, Service
from tests.conftest import SCALE
from tests.proxy.bulk import TEXTS_PER_EXAMPLE, texts

PREIMAGE = b"ab" * 32


def macaroon(identifier: bytes = bytes(66), location: bytes = b"lsat") -> bytes:
    caveat = b"preimage=" + PREIMAGE
    located = b"\x01" + bytes([len(location)]) + location if location else b""
    head = b"\x02" + located + b"\x02" + bytes([len(identifier)]) + identifier + b"\x00"
    return head + b"\x02" + bytes([len(caveat)]) + caveat + b"\x00\x00\x06\x20" + bytes(32)


TOKEN = macaroon()
LND = macaroon(b"\x03\n\x10" + bytes(63), b"lnd")


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        (b"L402 tok:" + PREIMAGE, None),
        (b"LSAT tok:" + PREIMAGE, None),
        (b"l402 tok:" + PREIMAGE, None),
        (b"L402\ttok:" + PREIMAGE, None),
        (b"L402 a,b==:" + PREIMAGE, None),
        (b"LSAT a:b, L402 a:b", None),
        (b"L402", None),
        (b"L402 ", None),
        (b'L402 token="a", preimage="b"', None),
        (b'L402 token="a", preimage = "b", Bearer z', b"Bearer z"),
        (b"L402 x:y, Bearer z", b"Bearer z"),
        (b"L402 x:y,Bearer z", b"Bearer z"),
        (b"Bearer z, L402 x:y", b"Bearer z"),
        (b"Bearer z,\tlsat a, b:c, Basic eA==", b"Bearer z, Basic eA=="),
        (b'Digest username="a, L402 b", realm ="c", L402 x:y', b'Digest username="a, L402 b", realm ="c"'),
        (b'L402 x:y, Digest username="a", realm = "b", L402 u:v', b'Digest username="a", realm = "b"'),
        (b"Bearer z, L402", b"Bearer z"),
        (b"L402 a, Negotiate, b:c", None),
        (b'Digest realm="x, L402 tok:' + PREIMAGE, b'Digest realm="x'),
        (b'Digest realm="x\\", L402 tok:' + PREIMAGE, b'Digest realm="x\\"'),
    ],
)
def test_only_the_l402_part_of_authorization_is_taken_out(value: bytes, rest: bytes | None) -> None:  # R69
    assert without_l402(value) == rest


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer z",
        b"Basic eA==",
        b'Digest username="l402 a", realm="x",nc=1 ,  uri="/"',
        b"Bearer  z ,, Basic eA==",
        b'Token token="l402"',
        b"L402x a:b",
        b"Payment L402",
        b"",
        b'"',
    ],
)
def test_other_credentials_pass_byte_for_byte(value: bytes) -> None:
    assert without_l402(value) == value


@pytest.mark.parametrize("name", [b"Macaroon", b"Grpc-Metadata-Macaroon", b"Token", b"Grpc-Metadata-Token", b"tOKEN"])
def test_an_l402_macaroon_does_not_travel_on_and_other_values_do(name: bytes) -> None:  # R69
    ours = [
        *[TOKEN.hex().encode(), TOKEN.hex().upper().encode(), macaroon(location=b"").hex().encode()],
        *[
            macaroon(location=b"x" * 127).hex().encode(),
            base64.b64encode(TOKEN),
            base64.urlsafe_b64encode(TOKEN).rstrip(b"="),
        ],
        b"ordinary, " + TOKEN.hex().encode(),
    ]
    others = [LND.hex().encode(), b"my-session-token", b"", b"02", b"0201", b"020201", b"02ff" * 2000, b"a" * 8190]
    others += [macaroon(bytes(65)).hex().encode(), macaroon(b"\x00\x01" + bytes(64)).hex().encode()]
    assert passed(*((name, value) for value in ours)) == []
    assert passed(*((name, value) for value in others)) == [(name, value) for value in others]


def test_credentials_pass_where_the_service_wants_them() -> None:
    fields = [
        (b"Authorization", b"L402 x:y, Bearer z"),
        (b"Macaroon", TOKEN.hex().encode()),
        (b"Token", TOKEN.hex().encode()),
    ]
    assert passed(*fields, forward=True) == fields
    assert passed(*fields) == [(b"Authorization", b"Bearer z")]


def test_every_authorization_line_is_looked_at() -> None:
    lines = [(b"Authorization", b"LSAT x:y"), (b"authorization", b"Bearer z"), (b"AUTHORIZATION", b"L402 x:y")]
    assert passed(*lines) == [(b"authorization", b"Bearer z")]


def passed(*fields: tuple[bytes, bytes], forward: bool = False) -> list[tuple[bytes, bytes]]:
    service = Service("s", Origin("http", "127.0.0.1", 9000), forward_credentials=forward)
    sent = upstream_headers(fields, service=service, client_ip="", client_scheme="http", client_host="", identity=())
    return [field for field in sent if field in fields or field[0].lower() == b"authorization"]


_TOKEN64 = base64.b64encode(TOKEN).decode()
_PIECES = [
    *["L402", "LSAT", "l402 ", " ", "\t", ",", ", ", ":", '"', "\\", "=", ";", "Bearer", "Bearer z", "Digest a=", "x"],
    *["L402 ", f"L402 {_TOKEN64}", f"{_TOKEN64}:", f":{PREIMAGE.decode()}", f"L402 {_TOKEN64}:{PREIMAGE.decode()}"],
    *[f"lsat {_TOKEN64},{_TOKEN64}:{PREIMAGE.decode()}", PREIMAGE.decode(), _TOKEN64, 'Digest a="', '", '],
]


@settings(max_examples=int(10_000 / TEXTS_PER_EXAMPLE * SCALE))
@given(values=texts(_PIECES))
def test_nothing_stays_behind_that_the_paywall_could_read(values: list[str]) -> None:
    for value in values:
        rest = without_l402(value.encode())
        if rest is not None:
            shown = read_credentials([("Authorization", rest.decode())])
            assert not shown.present, value
            assert without_l402(rest) == rest


def test_the_paywall_reads_what_that_test_is_made_of() -> None:
    value = f'Bearer z, L402 {_TOKEN64}:{PREIMAGE.decode()}, Digest a="'
    assert read_credentials([("Authorization", value)]).credentials
    assert read_credentials([("Macaroon", TOKEN.hex())]).credentials


@pytest.mark.parametrize(
    "value",
    [b"l402 " * 1638, b'"' * 8190, b'"\\' * 4095, b"a " * 4095, b"," * 8190, b"02" + b"ff" * 4094, b'a"b",' * 1600],
)
def test_hostile_credentials_cost_little_time(value: bytes) -> None:
    start = time.process_time()
    without_l402(value)
    without_l402_macaroon(value)
    assert time.process_time() - start < 0.1
