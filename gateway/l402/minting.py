"""The border to pymacaroons: minting and attenuating. Nothing of it, and none of its exceptions, leaves this file.

It only signs here, and is never given foreign bytes to parse: its parser raises a dozen kinds of exception and reads
several spellings of one macaroon, and its verifier lets caveats pass that nobody signed.
"""

from __future__ import annotations

from collections.abc import Sequence

from pymacaroons import MACAROON_V2
from pymacaroons import Macaroon as SigningMacaroon

from gateway.errors import CredentialError
from gateway.l402.caveats import Caveat
from gateway.l402.identifier import Identifier
from gateway.l402.macaroon import Macaroon, decode_macaroon

ROOT_KEY_BYTES = 32


def mint(*, root_key: bytes, identifier: bytes, caveats: Sequence[str], location: str = "lsat") -> bytes:
    """A signed macaroon in V2 binary (L402 L53 to L57).

    ``root_key`` is 32 random bytes used for this macaroon only, ``identifier`` an ``Identifier.encode()``, each
    caveat a ``condition=value``. Raises ``ValueError`` where the result could not be verified later.
    """
    if len(root_key) != ROOT_KEY_BYTES:
        raise ValueError("a root key is 32 bytes")
    try:
        Identifier.decode(identifier)
    except CredentialError as error:
        raise ValueError(str(error)) from None
    unsigned = SigningMacaroon(identifier=identifier, key=root_key, version=MACAROON_V2)
    return _encoded(unsigned, location, identifier, (), caveats)


def attenuate(raw: bytes, caveats: Sequence[str]) -> bytes:
    """Add caveats to a macaroon without knowing its root key: how a holder narrows a token (L402 L69).

    Raises ``CredentialError`` (malformed) for an unreadable macaroon, ``ValueError`` for caveats that cannot be added.
    """
    macaroon = decode_macaroon(raw)
    signed = SigningMacaroon(identifier=macaroon.identifier, signature=macaroon.signature.hex(), version=MACAROON_V2)
    return _encoded(signed, macaroon.location, macaroon.identifier, macaroon.caveats, caveats)


def _encoded(
    signing: SigningMacaroon, location: str, identifier: bytes, before: tuple[bytes, ...], added: Sequence[str]
) -> bytes:
    signable = tuple(_signable(caveat) for caveat in added)
    for caveat in signable:
        signing.add_first_party_caveat(caveat)
    return Macaroon(location, identifier, before + signable, bytes.fromhex(signing.signature)).encode()


def _signable(text: str) -> bytes:
    caveat = Caveat.decode(text.encode())
    if caveat is None:
        raise ValueError("a caveat is written condition=value")
    return caveat.encode()
