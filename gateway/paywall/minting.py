"""Make a challenge: an invoice, a macaroon that commits to its hash, and a durable row before anybody sees them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.errors import InvoiceMismatch, OutageError, StorageUnavailable
from gateway.l402 import caveats
from gateway.l402.amounts import Msat, format_amount
from gateway.l402.challenge import format_challenge
from gateway.l402.identifier import Identifier, token_key
from gateway.l402.minting import mint
from gateway.l402.tokens import encode_token
from gateway.lightning.backend import LightningBackend, NewInvoice
from gateway.lightning.checking import check_invoice, fit_memo
from gateway.paywall.terms import DEFAULT_ROUTE, Terms
from gateway.storage.store import Store, StoredInvoice, StoredToken

SETTLEMENT_GRACE_S = 120
"""Added to the signed bound of a pass: a payment that is under way when its invoice expires still settles."""
STORAGE_PAUSE_S = 1.0
"""After a failed write, how long no invoice is made: else every 402 of an outage leaves one in the node for nobody."""
MINTING_AT_ONCE = 512
"""Challenges under way; the next one is refused. A database that hangs fails no write for seconds: without this bound
every request of that time would leave an invoice in the node."""


@dataclass(frozen=True, slots=True)
class IssuedChallenge:
    """A challenge that may be sent: its row is durable. ``expires_at`` is Unix seconds, of the invoice."""

    header: str = field(repr=False)
    token: str = field(repr=False)
    invoice: str
    payment_hash: bytes
    amount_msat: Msat
    expires_at: int


class Minter:
    """Issues challenges. ``token_bytes(n)`` gives n cryptographically random bytes (L402 L51, L53).

    ``clock`` gives Unix seconds; ``timer`` only counts seconds, whatever happens to the clock.
    """

    def __init__(
        self,
        store: Store,
        node: LightningBackend,
        *,
        invoice_expiry_s: int,
        clock: Callable[[], float],
        token_bytes: Callable[[int], bytes],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._node = node
        self._invoice_expiry_s = invoice_expiry_s
        self._clock = clock
        self._token_bytes = token_bytes
        self._timer = timer
        self._paused_until = -math.inf
        self._under_way = 0

    async def issue(self, terms: Terms, host: str) -> IssuedChallenge:
        """A fresh challenge for these terms (L402 L19). Raises ``OutageError``; then nothing was sold."""
        if self._timer() < self._paused_until:
            raise StorageUnavailable("the database refused the last challenge")
        if self._under_way >= MINTING_AT_ONCE:
            raise OutageError(f"{MINTING_AT_ONCE} challenges are being made already")
        self._under_way += 1
        try:
            return await self._issue(terms, host)
        finally:
            self._under_way -= 1

    async def _issue(self, terms: Terms, host: str) -> IssuedChallenge:
        wanted = NewInvoice(terms.price_msat, self._invoice_expiry_s, fit_memo(_memo(terms, host)))
        issued = await self._node.create_invoice(wanted)
        now = int(self._clock())
        checked = check_invoice(issued, wanted, network=self._node.network, now=now)
        token, raw = self._token(terms, issued.payment_hash, now)
        header = _header(raw, issued.bolt11)
        invoice = StoredInvoice(
            payment_hash=issued.payment_hash,
            bolt11=issued.bolt11,
            amount_msat=terms.price_msat,
            backend=self._node.name,
            created_at=now,
            expires_at=checked.expires_at,
        )
        await self._save(token, invoice)
        return IssuedChallenge(
            header=header,
            token=encode_token(raw),
            invoice=issued.bolt11,
            payment_hash=issued.payment_hash,
            amount_msat=terms.price_msat,
            expires_at=checked.expires_at,
        )

    async def _save(self, token: StoredToken, invoice: StoredInvoice) -> None:
        try:
            await self._store.save_challenge(token, invoice)
        except StorageUnavailable:
            self._paused_until = self._timer() + STORAGE_PAUSE_S
            raise

    def _token(self, terms: Terms, payment_hash: bytes, now: int) -> tuple[StoredToken, bytes]:
        identifier = Identifier(payment_hash, self._token_bytes(32)).encode()
        root_key = self._token_bytes(32)
        valid_until = None
        if terms.valid_for_s is not None:
            valid_until = now + self._invoice_expiry_s + SETTLEMENT_GRACE_S + terms.valid_for_s
        signed = _caveats(terms, valid_until)
        token = StoredToken(
            key=token_key(identifier),
            identifier=identifier,
            payment_hash=payment_hash,
            root_key=root_key,
            service=terms.service,
            tier=terms.tier,
            route=terms.route,
            price_msat=terms.price_msat,
            caveats=signed,
            valid_for_s=terms.valid_for_s,
            valid_until=valid_until,
            issued_at=now,
        )
        return token, mint(root_key=root_key, identifier=identifier, caveats=signed)


def _header(raw: bytes, bolt11: str) -> str:
    try:
        return format_challenge(raw, bolt11)
    except ValueError as error:
        raise InvoiceMismatch(f"the node's invoice cannot be put into a header: {error}") from None


def _caveats(terms: Terms, valid_until: int | None) -> tuple[str, ...]:
    signed = [caveats.services_caveat(((terms.service, terms.tier),))]
    if terms.capabilities:
        signed.append(caveats.capabilities_caveat(terms.service, terms.capabilities))
    if valid_until is not None:
        signed.append(caveats.valid_until_caveat(terms.service, valid_until))
    signed.append(caveats.route_caveat((terms.route,)))
    signed.append(caveats.price_caveat(terms.price_msat))
    return tuple(signed)


def _memo(terms: Terms, host: str) -> str:
    where = terms.service if terms.route == DEFAULT_ROUTE else f"{terms.service}/{terms.route}"
    return f"L402 {where} at {host}, {format_amount(terms.price_msat)}"
