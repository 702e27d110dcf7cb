"""What the buyer keeps: one record per purchase, written before paying and completed by the preimage."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol
from weakref import WeakValueDictionary

from gateway.l402.amounts import Msat

MAX_PATHS_PER_TOKEN = 32
MAX_RECORDS_PER_ORIGIN = 256
NOTHING = Msat(0)
PENDING_KEPT_S = 30 * 86_400
"""How long an unfinished purchase is kept: a payment that a node still holds settles or fails long before."""


@dataclass(frozen=True, slots=True)
class Token:
    """A purchase of one origin. Without ``preimage`` it is pending: perhaps paid, not yet usable.

    ``origin`` is ``scheme://host:port``, ``path`` where it was bought; ``scheme`` is L402 or LSAT. ``scope`` is what
    the macaroon allows (its caveats but for times and preimage), ``expires_at`` the signed bound (Unix seconds, None =
    no end), ``worked_on`` the paths where the server accepted it, newest last. ``preimage`` is 32 bytes.
    """

    origin: str
    path: str
    macaroon: str = field(repr=False)
    scheme: str
    invoice: str = field(repr=False)
    payment_hash: bytes
    price_msat: Msat
    created_at: int
    invoice_expires_at: int
    scope: tuple[str, ...] = ()
    expires_at: int | None = None
    fee_msat: Msat = NOTHING
    preimage: bytes | None = field(default=None, repr=False)
    worked_on: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Names the record: sha256 of the macaroon's text, so that it may be shown."""
        return hashlib.sha256(self.macaroon.encode()).hexdigest()

    @property
    def authorization(self) -> str:
        """The credential (L402 L30), scheme and token as the server wrote them. Raises ``ValueError`` while pending."""
        if self.preimage is None:
            raise ValueError("this purchase is not paid")
        return f"{self.scheme} {self.macaroon}:{self.preimage.hex()}"

    def dead(self, now: float) -> bool:
        """True when keeping it is of no use: its signed bound passed, or it was never paid."""
        if self.expires_at is not None and now >= self.expires_at:
            return True
        return self.preimage is None and now >= max(self.invoice_expires_at, self.created_at + PENDING_KEPT_S)

    def paid(self, preimage: bytes, fee_msat: Msat) -> Token:
        """The same purchase, finished."""
        return replace(self, preimage=preimage, fee_msat=fee_msat)

    def accepted_on(self, path: str) -> Token:
        """The same token, known to open ``path``."""
        paths = (*(known for known in self.worked_on if known != path), path)
        return replace(self, worked_on=paths[-MAX_PATHS_PER_TOKEN:])


class TokenStore(Protocol):
    """Where purchases are kept. A method that returned has made its change durable. Raises ``BuyerError``."""

    async def load(self, origin: str) -> tuple[Token, ...]:
        """Every record of one origin, oldest first."""

    async def put(self, token: Token) -> None:
        """Add a record, or replace the one with the same key."""

    async def remove(self, token: Token) -> None:
        """Forget a record; unknown ones are no error."""

    def purchasing(self, origin: str) -> AbstractAsyncContextManager[None]:
        """Held while buying from an origin: whoever waited finds the token that the other one bought."""


class MemoryTokenStore:
    """Keeps nothing beyond the process: for tests, and for those who want no token file."""

    def __init__(self) -> None:
        self._records: tuple[Token, ...] = ()
        self._queues = OriginQueues()

    async def load(self, origin: str) -> tuple[Token, ...]:
        """Every record of one origin, oldest first."""
        return tuple(token for token in self._records if token.origin == origin)

    async def put(self, token: Token) -> None:
        """Add or replace."""
        self._records = with_record(self._records, token)

    async def remove(self, token: Token) -> None:
        """Forget a record."""
        self._records = without_record(self._records, token)

    def purchasing(self, origin: str) -> AbstractAsyncContextManager[None]:
        """One purchase at a time per origin, within this process."""
        return self._queues.turn(origin)


class OriginQueues:
    """One lock per origin, kept only while somebody holds or awaits it.

    The lock is held across the payment on purpose: that is the moment when a second buyer must wait, not pay too.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, origin: str) -> AsyncIterator[None]:
        """Wait for this origin's turn."""
        lock = self._locks.setdefault(origin, asyncio.Lock())
        async with lock:
            yield


def with_record(records: Sequence[Token], token: Token) -> tuple[Token, ...]:
    """The records with ``token`` in its place; of one origin the oldest ones give way beyond the limit."""
    if any(known.key == token.key for known in records):
        return tuple(token if known.key == token.key else known for known in records)
    same = [known for known in records if known.origin == token.origin]
    dropped = {known.key for known in same[: max(0, len(same) + 1 - MAX_RECORDS_PER_ORIGIN)]}
    return (*(known for known in records if known.key not in dropped), token)


def without_record(records: Sequence[Token], token: Token) -> tuple[Token, ...]:
    """The records without ``token``."""
    return tuple(known for known in records if known.key != token.key)


def guess(tokens: Iterable[Token], path: str, now: float) -> Token | None:
    """The token to send before anything is known about the price of ``path``.

    The one that worked nearest to it, counted in whole path segments; the newest of several. None unless at least
    one segment agrees: one host may sell several services, each wanting a token of its own (see docs/buy.md).
    """
    usable = [token for token in tokens if token.preimage is not None and not token.dead(now)]
    best = max(usable, key=lambda token: (_nearness(token, path), token.created_at), default=None)
    return best if best is not None and _nearness(best, path) > 0 else None


def matching(
    tokens: Iterable[Token], path: str, scope: tuple[str, ...], now: float, *, tried: Sequence[str]
) -> Token | None:
    """A paid token, not yet tried, that allows just what an offer sells, or that opened this very path; the newest."""
    fitting = [
        token
        for token in tokens
        if token.preimage is not None
        and not token.dead(now)
        and token.key not in tried
        and ((scope and token.scope == scope) or path in (token.path, *token.worked_on))
    ]
    return max(fitting, key=lambda token: token.created_at, default=None)


def unfinished(
    tokens: Iterable[Token], path: str, scope: tuple[str, ...], price_msat: Msat, now: float
) -> Token | None:
    """A purchase of the same thing at the same price that was begun and never finished, the newest."""
    pending = [
        token
        for token in tokens
        if token.preimage is None
        and not token.dead(now)
        and token.price_msat == price_msat
        and (token.path == path or (scope and token.scope == scope))
    ]
    return max(pending, key=lambda token: token.created_at, default=None)


def _nearness(token: Token, path: str) -> int:
    return max(_common_segments(known, path) for known in (token.path, *token.worked_on))


def _common_segments(known: str, path: str) -> int:
    if known == path:
        return len(path) + 1  # more than any other path can share with it, also for "/"
    count = 0
    for left, right in zip(known.split("/")[1:], path.split("/")[1:], strict=False):
        if left != right or not left:
            break
        count += 1
    return count
