"""Verify a credential: signature, preimage, caveats, in this order (L402 L40 to L48).

``authenticate`` depends on the credential only, so its result may be kept; ``authorize`` depends on the request.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from functools import reduce
from typing import NamedTuple

from gateway.errors import CredentialError, Fault
from gateway.l402.caveats import OUR_NAMESPACE, PREIMAGE, Caveat, read_preimage
from gateway.l402.credentials import Credential
from gateway.l402.identifier import Identifier, token_key
from gateway.l402.macaroon import Macaroon, has_signature_of
from gateway.l402.scope import Names, Scope, read_scope

_OUR_NAMESPACE = OUR_NAMESPACE.encode()


class Requirement(NamedTuple):
    """What a request asks for. ``capability`` None = none in particular; ``now`` is Unix seconds."""

    service: str
    tier: int
    capability: str | None
    now: int


class AuthenticToken(NamedTuple):
    """A token whose signature and preimage hold. ``caveats`` lacks the ``preimage`` ones, which are secrets."""

    key: bytes
    identifier: Identifier
    caveats: tuple[Caveat, ...]


class Verified(NamedTuple):
    """A credential that covers a requirement, and what else it allows; None = not restricted.

    ``token_keys`` are the distinct sha256(identifier) of its tokens, in order; ``token_id`` is the first one's.
    ``services`` holds ``name:tier`` pairs. With several tokens, every field is what all of them leave.
    ``routes`` and ``price_msat`` are for the caller to check: only it knows which route costs what.
    """

    token_keys: tuple[bytes, ...]
    payment_hash: bytes
    token_id: bytes
    services: Names | None
    capabilities: Names | None
    valid_until: int | None
    routes: Names | None
    price_msat: int | None
    caveats: tuple[Caveat, ...]


def verify(credential: Credential, root_keys: Mapping[bytes, bytes | None], requirement: Requirement) -> Verified:
    """Verify a credential for a request. ``root_keys`` maps ``token_key`` to the root key, None once revoked.

    Raises only ``CredentialError``: MALFORMED (identifier), INVALID_TOKEN (not ours, or tampered with), REVOKED,
    INVALID_PREIMAGE, INVALID_CAVEAT, SCOPE, EXPIRED.
    """
    return authorize(authenticate(credential, root_keys), requirement)


def authenticate(credential: Credential, root_keys: Mapping[bytes, bytes | None]) -> tuple[AuthenticToken, ...]:
    """Check the signature of every token, then that the one preimage pays for each of them (L402 L35, L40, L41)."""
    if not credential.macaroons:
        raise CredentialError(Fault.MALFORMED, "a credential holds at least one token")
    paid_hash = hashlib.sha256(credential.preimage).digest()
    return tuple([_authenticate_one(macaroon, root_keys, paid_hash) for macaroon in credential.macaroons])


def authorize(tokens: tuple[AuthenticToken, ...], requirement: Requirement) -> Verified:
    """Check that every token allows what the request asks for (L402 L47)."""
    scopes = [read_scope(token.caveats, requirement.service) for token in tokens]
    for scope in scopes:
        scope.check(requirement.service, requirement.tier, requirement.capability, requirement.now)
    common, first = scopes[0], tokens[0]
    keys: tuple[bytes, ...] = (first.key,)
    caveats = first.caveats
    if len(tokens) > 1:
        common = reduce(Scope.intersect, scopes)
        keys = tuple(dict.fromkeys(token.key for token in tokens))
        caveats = tuple(caveat for token in tokens for caveat in token.caveats)
    return Verified(
        keys,
        first.identifier.payment_hash,
        first.identifier.token_id,
        common.services,
        common.capabilities,
        common.valid_until,
        common.routes,
        common.price_msat,
        caveats,
    )


def _authenticate_one(macaroon: Macaroon, root_keys: Mapping[bytes, bytes | None], paid_hash: bytes) -> AuthenticToken:
    identifier = Identifier.decode(macaroon.identifier)
    key = token_key(macaroon.identifier)
    try:
        root_key = root_keys[key]
    except KeyError:
        raise CredentialError(Fault.INVALID_TOKEN, "the token was not minted here") from None
    if root_key is None:
        raise CredentialError(Fault.REVOKED)
    if not has_signature_of(macaroon, root_key):
        raise CredentialError(Fault.INVALID_TOKEN, "the token's signature does not hold")
    if not hmac.compare_digest(identifier.payment_hash, paid_hash):
        raise CredentialError(Fault.INVALID_PREIMAGE)
    return AuthenticToken(key, identifier, _read_caveats(macaroon.caveats, paid_hash))


def _read_caveats(signed: tuple[bytes, ...], paid_hash: bytes) -> tuple[Caveat, ...]:
    """Decode signed caveats; each ``preimage`` among them has to fit as well (L402 L46, L68)."""
    caveats: list[Caveat] = []
    for raw in signed:
        caveat = Caveat.decode(raw)
        if caveat is None:
            if raw.startswith(_OUR_NAMESPACE):
                raise CredentialError(Fault.INVALID_CAVEAT, "an unreadable caveat in the gateway's own namespace")
        elif caveat.condition != PREIMAGE:
            caveats.append(caveat)
        elif not hmac.compare_digest(hashlib.sha256(read_preimage(caveat.value)).digest(), paid_hash):
            raise CredentialError(Fault.INVALID_PREIMAGE)
    return tuple(caveats)
