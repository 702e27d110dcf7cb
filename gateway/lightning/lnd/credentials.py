"""What opens the node's door: the certificate to trust and the macaroon to show, and which rights it carries."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from gateway.errors import NodeRefusedCredentials
from gateway.lightning.lnd.methods import SELLING
from gateway.lightning.lnd.rpc import macaroon_id_pb2 as bakery
from gateway.lightning.settings import FromFile, LndSettings, Material

_SIZE_LIMIT = 64 * 1024  # bytes; a certificate is under 1 KB, an admin macaroon 300 bytes
_V2, _END_OF_SECTION, _LOCATION, _IDENTIFIER = 2, 0, 1, 2
_BAKERY_V3 = 3
_NEEDED = frozenset({"info:read", *(method.right for method in SELLING), *(f"uri:{method.path}" for method in SELLING)})


@dataclass(frozen=True, slots=True)
class Credentials:
    """A PEM certificate and a binary macaroon, as they stand now."""

    certificate: bytes
    macaroon: bytes = field(repr=False)


def read_credentials(settings: LndSettings) -> Credentials:
    """Read both (blocking). Raises ``NodeRefusedCredentials`` naming what is missing or unreadable."""
    certificate = _read("tls_cert", settings.tls_cert)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise NodeRefusedCredentials(f"tls_cert{_place(settings.tls_cert)} is not a PEM certificate") from None
    return Credentials(certificate, _read("macaroon", settings.macaroon))


def _read(name: str, material: Material) -> bytes:
    if isinstance(material, FromFile):
        try:
            with material.path.open("rb") as file:
                value = file.read(_SIZE_LIMIT)
        except OSError as error:
            raise NodeRefusedCredentials(f"cannot read {name} {material.path}: {error.strerror}") from None
    else:
        value = material.value
    if not value:
        raise NodeRefusedCredentials(f"{name}{_place(material)} is empty")
    return value


def _place(material: Material) -> str:
    return f" {material.path}" if isinstance(material, FromFile) else ""


def rights(macaroon: bytes) -> frozenset[str] | None:
    """The rights that lnd baked into a macaroon, such as ``invoices:read``; None where they cannot be told.

    lnd writes them in the clear into the identifier (libmacaroons V2 packets around a bakery V3 identifier) and grants
    exactly those, so that reading them needs no node, costs nothing and cannot raise an alarm there. Probing with
    forbidden calls would, and would show only the rights that were thought of.
    """
    identifier = _identifier(macaroon)
    if identifier is None or identifier[:1] != bytes([_BAKERY_V3]):
        return None
    try:
        baked = bakery.MacaroonId.FromString(identifier[1:])
    except DecodeError:
        return None
    return frozenset(f"{op.entity}:{action}" for op in baked.ops for action in op.actions) or None


def excess(macaroon: bytes) -> tuple[str, ...]:
    """The rights that a gateway has no use for, sorted; empty where they cannot be told."""
    return tuple(sorted((rights(macaroon) or frozenset()) - _NEEDED))


def _identifier(macaroon: bytes) -> bytes | None:
    """The identifier field of a V2 binary macaroon; every field here is shorter than 2**14 bytes."""
    at = 1
    while macaroon[:1] == bytes([_V2]) and at < len(macaroon):
        kind, at = macaroon[at], at + 1
        if kind not in {_LOCATION, _IDENTIFIER}:
            return None
        length, at = _varint(macaroon, at)
        field_, at = macaroon[at : at + length], at + length
        if kind == _IDENTIFIER:
            return field_ if len(field_) == length else None
    return None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number of at most two bytes and the place after it."""
    first, second = (data[at : at + 2] + b"\x00\x00")[:2]
    return (first, at + 1) if first < 0x80 else ((first & 0x7F) | (second & 0x7F) << 7, at + 2)
