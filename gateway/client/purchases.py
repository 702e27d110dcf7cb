"""Turn an offer into a token: checked, recorded, paid, proved and stored, in this order."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gateway.client.budget import Budget
from gateway.client.offers import Offer
from gateway.client.tokens import NOTHING, Token, TokenStore, unfinished
from gateway.errors import BuyerError, PaymentFailed
from gateway.l402.amounts import Msat
from gateway.lightning.payer import Payer

PAYMENT_TIMEOUT_S = 60.0
PAYER_GRACE_S = 15.0
"""What a payer may take beyond its own deadline to tell how a payment ended."""


class Source(StrEnum):
    """Why a request was let through."""

    FREE = "free"
    """Nobody asked for payment."""
    TOKEN = "stored token"  # noqa: S105 - words for people
    RESUMED = "resumed purchase"
    """A purchase that an earlier run had begun was finished; an invoice is paid at most once."""
    PAID = "paid"


@dataclass(frozen=True, slots=True)
class Purchase:
    """How an answer was paid for. Amounts are 0 unless ``source`` is PAID or RESUMED."""

    source: Source
    price_msat: Msat = NOTHING
    fee_msat: Msat = NOTHING


FREE = Purchase(Source.FREE)


class Cashier:
    """Pays offers through one wallet within one budget. ``on_offer`` is told each offer just before it is paid."""

    def __init__(
        self,
        payer: Payer | None,
        *,
        budget: Budget,
        tokens: TokenStore,
        clock: Callable[[], float],
        on_offer: Callable[[Offer], None],
        timeout_s: float = PAYMENT_TIMEOUT_S,
    ) -> None:
        self._payer = payer
        self._budget = budget
        self._tokens = tokens
        self._clock = clock
        self._on_offer = on_offer
        self._timeout_s = timeout_s

    async def buy(self, offer: Offer, origin: str, path: str) -> tuple[Token, Purchase]:
        """Finish a purchase of the same thing that an earlier run left open, else pay this offer.

        The caller holds ``tokens.purchasing(origin)``. Raises ``BuyerError`` (budget, ``no_wallet``,
        ``wrong_preimage``, ``payment_unknown``), ``PaymentFailed``, or the wallet's ``OutageError``.
        """
        now = self._clock()
        left_open = unfinished(await self._tokens.load(origin), path, offer.scope, offer.price_msat, now)
        if left_open is not None:
            try:
                return await self._pay(left_open, Source.RESUMED)
            except PaymentFailed:
                await self._tokens.remove(left_open)  # final: nothing was paid, so paying the offer pays once
        self._budget.check(offer.price_msat)
        self._on_offer(offer)
        pending = offer.pending(origin, path, int(now))
        await self._tokens.put(pending)
        try:
            return await self._pay(pending, Source.PAID)
        except PaymentFailed:
            await self._tokens.remove(pending)
            raise

    async def _pay(self, pending: Token, source: Source) -> tuple[Token, Purchase]:
        if self._payer is None:
            raise BuyerError("no_wallet", "the server asks for payment and there is no wallet")
        price = pending.price_msat
        self._budget.reserve(price)
        try:
            # Any other way out leaves the reservation: the money may be gone.
            async with asyncio.timeout(self._timeout_s + PAYER_GRACE_S):
                payment = await self._payer.pay(
                    pending.invoice, max_fee_msat=self._budget.max_fee_msat, timeout_s=self._timeout_s
                )
        except PaymentFailed:
            self._budget.release(price)
            raise
        except TimeoutError as error:
            raise BuyerError("payment_unknown", "the wallet did not say how the payment ended; run again") from error
        self._budget.commit(price, payment.fee_msat)
        if hashlib.sha256(payment.preimage).digest() != pending.payment_hash:
            raise BuyerError("wrong_preimage", "the wallet's preimage is not the one of this invoice")
        token = pending.paid(payment.preimage, payment.fee_msat)
        # Durable before the request is repeated: from here on a crash loses nothing.
        await self._tokens.put(token)
        return token, Purchase(source, price, payment.fee_msat)
