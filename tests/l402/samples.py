"""Tokens minted for the tests of this room, and a mutator that turns valid inputs into nearly valid ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.errors import CredentialError, Fault
from gateway.l402.credentials import Credential
from gateway.l402.identifier import Identifier, token_key
from gateway.l402.macaroon import decode_macaroon
from gateway.l402.minting import mint
from gateway.l402.tokens import encode_token
from gateway.l402.verification import Requirement, Verified, verify

NOW = 1_800_000_000
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "vectors.json").read_text())
MACAROONS: dict[str, dict[str, Any]] = {vector["name"]: vector for vector in VECTORS["macaroons"]}

STANDARD_CAVEATS = (
    "services=svc:0",
    "svc_capabilities=read,write",
    f"svc_valid_until={NOW + 3600}",
    "gw_route=default",
    "gw_price_msat=1500",
)


@dataclass(frozen=True)
class Sold:
    """A minted token with everything that its buyer and its seller know."""

    raw: bytes
    identifier: bytes
    root_key: bytes = field(repr=False)
    preimage: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return encode_token(self.raw)

    @property
    def header(self) -> str:
        return f"L402 {self.text}:{self.preimage.hex()}"

    @property
    def keys(self) -> dict[bytes, bytes | None]:
        return {token_key(self.identifier): self.root_key}

    @property
    def credential(self) -> Credential:
        return credential(self.raw, preimage=self.preimage)

    def verify(self, **wanted: Any) -> Verified:
        return verify(self.credential, self.keys, requirement(**wanted))


def sell(caveats: Sequence[str] = STANDARD_CAVEATS, *, number: int = 0, preimage: bytes | None = None) -> Sold:
    """Mint the token that this number stands for; the same each time."""
    preimage = hashlib.sha256(b"preimage %d" % number).digest() if preimage is None else preimage
    root_key = hashlib.sha256(b"root key %d" % number).digest()
    token_id = hashlib.sha256(b"token id %d" % number).digest()
    identifier = Identifier(hashlib.sha256(preimage).digest(), token_id).encode()
    return Sold(mint(root_key=root_key, identifier=identifier, caveats=caveats), identifier, root_key, preimage)


def credential(*raws: bytes, preimage: bytes) -> Credential:
    return Credential(tuple(decode_macaroon(raw) for raw in raws), preimage)


def requirement(service: str = "svc", tier: int = 0, capability: str | None = None, now: int = NOW) -> Requirement:
    return Requirement(service, tier, capability, now)


def fault_of(sold: Sold, **wanted: Any) -> Fault | None:
    """Why the token is refused; None when it is accepted."""
    try:
        sold.verify(**wanted)
    except CredentialError as error:
        return error.fault
    return None


def mutate(valid: bytes, program: bytes) -> bytes:
    """Change a valid input as the program says, three bytes an instruction: what, where, with which byte."""
    data = bytearray(valid)
    for what, where, value in zip(program[::3], program[1::3], program[2::3], strict=False):
        at = (where | (value & 0x07) << 8) % (len(data) + 1)
        if what < 64:
            data[at : at + 1] = bytes((value,))
        elif what < 112:
            data.insert(at, value)
        elif what < 160:
            del data[at : at + 1 + value % 8]
        elif what < 192:
            data[at:at] = data[at : at + value]
        elif what < 224:
            data[at : at + 1] = bytes(((data[at] if at < len(data) else 0) ^ 1 << value % 8,))
        elif what < 240:
            data = data[:at]
        else:
            data = data + data[at:] if len(data) < 4096 else data[at:]
    return bytes(data)
