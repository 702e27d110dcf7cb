"""What a 402 offers: read, decoded and checked before anybody thinks of paying."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import aiohttp

from gateway.client.tokens import Token
from gateway.errors import BuyerError, ChallengeError, CredentialError, Fault
from gateway.l402 import bolt11
from gateway.l402.amounts import Msat
from gateway.l402.caveats import PREIMAGE, VALID_UNTIL_SUFFIX, Caveat
from gateway.l402.challenge import Challenge, parse_challenges
from gateway.l402.identifier import Identifier
from gateway.l402.macaroon import Macaroon, decode_macaroon
from gateway.l402.tokens import decode_token

MAX_REFUSAL_BYTES = 65_536
REFUSAL_DEADLINE_S = 10.0
_CODE = re.compile(r"[a-z0-9_]{1,64}")


@dataclass(frozen=True, slots=True)
class Offer:
    """A challenge that can be paid. ``expires_at`` is when the invoice runs out (Unix seconds).

    ``scope`` is what the token will allow (caveats but for times and preimage), ``valid_until`` its signed bound;
    both are empty for a token that is no macaroon.
    """

    macaroon: str = field(repr=False)
    scheme: str
    invoice: str = field(repr=False)
    price_msat: Msat
    payment_hash: bytes
    network: str
    expires_at: int
    description: str
    scope: tuple[str, ...]
    valid_until: int | None

    def pending(self, origin: str, path: str, now: int) -> Token:
        """The record to keep before paying."""
        return Token(
            origin=origin,
            path=path,
            macaroon=self.macaroon,
            scheme=self.scheme,
            invoice=self.invoice,
            payment_hash=self.payment_hash,
            price_msat=self.price_msat,
            created_at=now,
            invoice_expires_at=self.expires_at,
            scope=self.scope,
            expires_at=self.valid_until,
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """A 402, or a 401 that brings a challenge. ``code`` is the server's own word for the reason, '' without one."""

    status: int
    code: str
    challenge_lines: tuple[str, ...] = field(repr=False)

    @property
    def final(self) -> bool:
        """True when the presented token will never be accepted again."""
        return self.code in {Fault.EXPIRED, Fault.REVOKED}

    @property
    def unsettled(self) -> bool:
        """True when the server has not yet heard of the payment."""
        return self.code == Fault.NOT_SETTLED

    def __str__(self) -> str:
        return f"{self.status} {self.code}".rstrip()


async def read_refusal(response: aiohttp.ClientResponse) -> Refusal | None:
    """The refusal in a response, which is then closed; None for any other response, which is left untouched."""
    lines = tuple(response.headers.getall("WWW-Authenticate", ()))
    if response.status != 402 and not (response.status == 401 and _challenges(lines)):
        return None
    # Closed, not released: the repeat must not race with a server that ends an idle connection.
    return Refusal(response.status, await read_code(response), lines)


async def read_code(response: aiohttp.ClientResponse) -> str:
    """The stable error code of a JSON error body (``error`` or ``code``), '' without one. Closes the response."""
    raw = b""
    try:
        async with asyncio.timeout(REFUSAL_DEADLINE_S):
            while len(raw) < MAX_REFUSAL_BYTES and (more := await response.content.read(MAX_REFUSAL_BYTES)):
                raw += more
        body = json.loads(raw)
    except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError):
        return ""
    finally:
        response.close()
    if not isinstance(body, dict):
        return ""
    found = (body.get(name) for name in ("error", "code"))
    return next((code for code in found if isinstance(code, str) and _CODE.fullmatch(code)), "")


def read_offer(lines: Sequence[str], *, networks: Collection[str], now: float) -> Offer:
    """Read the ``WWW-Authenticate`` lines of a 402 and refuse what must not be paid.

    Raises ``ChallengeError`` and ``InvoiceError`` for what cannot be read, ``BuyerError`` (``amountless_invoice``,
    ``expired_invoice``, ``foreign_network``, ``hash_mismatch``) for what can be read but not trusted.
    """
    challenge = parse_challenges(lines)[0]  # further ones repeat it in other words, or offer other ways to pay
    invoice = bolt11.decode(challenge.invoice)
    macaroon = _read_macaroon(challenge.token)
    if invoice.amount_msat is None or invoice.amount_msat <= 0:
        raise BuyerError("amountless_invoice", "the invoice names no amount: whatever was paid would be lost")
    if invoice.network not in networks:
        wallet = " or ".join(sorted(networks)) or "no network"
        raise BuyerError("foreign_network", f"the invoice is for {invoice.network}, the wallet is on {wallet}")
    if invoice.expires_at <= now:
        raise BuyerError("expired_invoice", "the invoice has expired")
    _check_hash(macaroon, invoice.payment_hash)
    caveats = _caveats(macaroon)
    return Offer(
        macaroon=challenge.token,
        scheme=challenge.scheme,
        invoice=challenge.invoice,
        price_msat=invoice.amount_msat,
        payment_hash=invoice.payment_hash,
        network=invoice.network,
        expires_at=invoice.expires_at,
        description=_printable(invoice.description or ""),
        scope=_scope(caveats),
        valid_until=_valid_until(caveats),
    )


def _challenges(lines: Sequence[str]) -> tuple[Challenge, ...]:
    try:
        return parse_challenges(lines)
    except ChallengeError:
        return ()


def _read_macaroon(text: str) -> Macaroon | None:
    """None for a token of another format, which L402 allows (L402 L72)."""
    try:
        return decode_macaroon(decode_token(text))
    except CredentialError:
        return None


def _check_hash(macaroon: Macaroon | None, payment_hash: bytes) -> None:
    """The preimage of another invoice would not open this token: paying would buy nothing (L402 L16)."""
    if macaroon is None:
        return
    try:
        committed = Identifier.decode(macaroon.identifier).payment_hash
    except CredentialError:
        return
    if committed != payment_hash:
        raise BuyerError("hash_mismatch", "the token is bound to another payment than the invoice")


def _caveats(macaroon: Macaroon | None) -> tuple[Caveat, ...]:
    decoded = (Caveat.decode(raw) for raw in macaroon.caveats) if macaroon is not None else ()
    return tuple(caveat for caveat in decoded if caveat is not None)


def _scope(caveats: Sequence[Caveat]) -> tuple[str, ...]:
    return tuple(
        caveat.text
        for caveat in caveats
        if caveat.condition != PREIMAGE and not caveat.condition.endswith(VALID_UNTIL_SUFFIX)
    )


def _valid_until(caveats: Sequence[Caveat]) -> int | None:
    """When the last of the token's services ends: each one's own bound is the lowest that was signed for it."""
    bounds: dict[str, int] = {}
    for caveat in caveats:
        if caveat.condition.endswith(VALID_UNTIL_SUFFIX) and caveat.value.isascii() and caveat.value.isdigit():
            bound = int(caveat.value[:18])
            bounds[caveat.condition] = min(bound, bounds.get(caveat.condition, bound))
    return max(bounds.values(), default=None)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:200])
