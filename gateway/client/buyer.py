"""Fetch a URL and pay for it where the server asks: the buyer's side of L402."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from gateway.client.budget import Budget
from gateway.client.offers import Offer, Refusal, read_code, read_offer, read_refusal
from gateway.client.purchases import FREE, Cashier, Purchase, Source
from gateway.client.request import REDIRECTS, Body, Headers, Request
from gateway.client.tokens import Token, TokenStore, guess, matching
from gateway.errors import BuyerError, ChallengeError
from gateway.lightning.payer import Payer

MAX_REUSED = 2
"""Stored tokens tried per request before paying: each one costs the server a challenge."""
MAX_REDIRECTS = 5
SETTLEMENT_WAITS_S = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Pauses between repeats while a server has not yet heard of the payment from its node."""
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=60.0)
_AS_SENT = ("Accept-Encoding", "Content-Type", "User-Agent")


@dataclass(frozen=True, slots=True)
class Answer:
    """The final response, its body still to be read, and how it was paid for."""

    response: aiohttp.ClientResponse
    purchase: Purchase

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, still encoded as the server sent it. Raises ``BuyerError`` when it is cut short."""
        with _network_errors():
            async for chunk in self.response.content.iter_any():
                yield chunk

    async def read(self, limit: int = 10 * 1024 * 1024) -> bytes:
        """The whole body; more than ``limit`` bytes raise ``BuyerError`` (``too_large``)."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > limit:
                raise BuyerError("too_large", f"the answer is longer than {limit} bytes")
        return bytes(body)


@dataclass(frozen=True, slots=True)
class Quote:
    """What a request would cost. ``offer`` is None where the server answered ``status`` without asking for payment.

    ``stored`` is True when a kept token would be tried before paying.
    """

    status: int
    offer: Offer | None
    stored: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A token that this request was refused with; ``final`` when it will never be accepted again."""

    token: Token
    final: bool


class Buyer:
    """Fetches URLs, pays at most once per fetch and keeps the tokens.

    ``networks`` are those whose invoices may be paid: the wallet's own. ``session`` stays the caller's to close.
    ``reuse=False`` ignores stored tokens. Every method raises only ``gateway.errors`` types; ``BuyerError`` codes are
    listed in docs/buy.md.
    """

    def __init__(
        self,
        payer: Payer | None,
        *,
        budget: Budget,
        tokens: TokenStore,
        networks: Collection[str],
        session: aiohttp.ClientSession | None = None,
        reuse: bool = True,
        on_offer: Callable[[Offer], None] = lambda _offer: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._networks = frozenset(networks)
        self._session = session
        self._owns_session = session is None
        self._reuse = reuse
        self._clock = clock
        self._cashier = Cashier(payer, budget=budget, tokens=tokens, clock=clock, on_offer=on_offer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a given session stays open. Idempotent."""
        if self._owns_session and self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def fetch(
        self, method: str, url: str | URL, *, headers: Headers = (), data: Body = None
    ) -> AsyncIterator[Answer]:
        """Send a request, pay if that is asked and allowed, and give the answer with its body still streaming.

        A body is sent again with each repeat, whole. Redirects are followed for GET and HEAD; to another origin
        without credentials and without paying. A 503 raises ``BuyerError`` (``server_unavailable``).
        """
        answer = await self._follow(Request.build(method, url, headers, data))
        try:
            yield answer
        finally:
            answer.response.close()

    def get(self, url: str | URL, *, headers: Headers = ()) -> AbstractAsyncContextManager[Answer]:
        """``fetch("GET", …)``."""
        return self.fetch("GET", url, headers=headers)

    async def quote(self, method: str, url: str | URL, *, headers: Headers = (), data: Body = None) -> Quote:
        """Ask for the price; nothing is paid and no token is sent. Where nobody asks for money the request is done."""
        request = Request.build(method, url, headers, data)
        response = await self._send(request, None)
        refusal = await read_refusal(response)
        if refusal is None:
            (await _available(response, paid=False)).close()
            return Quote(response.status, None, stored=False)
        offer = self._read_offer(refusal)
        stored = await self._match(request, offer, []) or await self._guess(request)
        return Quote(refusal.status, offer, stored=stored is not None)

    async def _follow(self, request: Request) -> Answer:
        answer = await self._buy(request)
        at_home = True
        for _ in range(MAX_REDIRECTS):
            location = answer.response.headers.get("Location")
            if answer.status not in REDIRECTS or not location or not request.followable:
                return answer
            answer.response.close()
            moved = request.redirected(location)
            at_home = at_home and moved.origin == request.origin
            paid = answer.purchase if answer.purchase.price_msat else None
            request = moved
            answer = await self._buy(request, may_pay=paid is None, trusted=at_home)
            answer = Answer(answer.response, paid or answer.purchase)
        if answer.status in REDIRECTS:
            answer.response.close()
            raise BuyerError("too_many_redirects", f"more than {MAX_REDIRECTS} redirects")
        return answer

    async def _buy(self, request: Request, *, may_pay: bool = True, trusted: bool = True) -> Answer:
        guessed = token = await self._guess(request) if trusted else None
        purchase = FREE if token is None else Purchase(Source.TOKEN)
        refused: list[Refused] = []
        while True:
            sent = await self._present(request, token)
            if isinstance(sent, aiohttp.ClientResponse):
                if token is not None and (token is not guessed or not token.worked_on):
                    await self._note_success(token, request.path)
                return Answer(sent, purchase)
            if token is not None:
                await self._note_refusal(token, sent, purchase)
                refused.append(Refused(token, sent.final))
            if not trusted:
                raise BuyerError("redirect_asks_payment", f"redirected to {request.origin}, which asks for payment")
            token, purchase = await self._obtain(request, sent, refused, may_pay=may_pay)

    async def _present(self, request: Request, token: Token | None) -> aiohttp.ClientResponse | Refusal:
        """Send the request; with a token also again while the server has not yet seen the payment."""
        waits = iter(SETTLEMENT_WAITS_S if token is not None else ())
        while True:
            response = await self._send(request, token)
            refusal = await read_refusal(response)
            if refusal is None:
                return await _available(response, paid=token is not None)
            wait = next(waits, None) if refusal.unsettled else None
            if wait is None:
                return refusal
            await asyncio.sleep(wait)

    async def _obtain(
        self, request: Request, refusal: Refusal, refused: list[Refused], *, may_pay: bool
    ) -> tuple[Token, Purchase]:
        offer = self._read_offer(refusal)
        async with self._tokens.purchasing(request.origin):
            token = await self._match(request, offer, refused) if len(refused) < MAX_REUSED else None
            if token is not None:
                return token, Purchase(Source.TOKEN)
            if not may_pay:
                raise BuyerError("still_unpaid", f"paid, and after a redirect the server answers {refusal}")
            if any(_unproven(known, request, offer) for known in refused):
                raise BuyerError(
                    "still_unpaid", f"paid before, and the server has never accepted that token ({refusal})"
                )
            return await self._cashier.buy(offer, request.origin, request.path)

    def _read_offer(self, refusal: Refusal) -> Offer:
        if not refusal.challenge_lines:
            raise ChallengeError(f"the server answers {refusal} without a challenge (to HEAD many do: use GET)")
        return read_offer(refusal.challenge_lines, networks=self._networks, now=self._clock())

    async def _guess(self, request: Request) -> Token | None:
        if not self._reuse:
            return None
        return guess(await self._tokens.load(request.origin), request.path, self._clock())

    async def _match(self, request: Request, offer: Offer, refused: list[Refused]) -> Token | None:
        if not self._reuse:
            return None
        known = await self._tokens.load(request.origin)
        tried = [entry.token.key for entry in refused]
        return matching(known, request.path, offer.scope, self._clock(), tried=tried)

    async def _note_success(self, token: Token, path: str) -> None:
        # A note for next time: failing to write it must not cost the answer that was paid for.
        with suppress(BuyerError):
            await self._tokens.put(token.accepted_on(path))

    async def _note_refusal(self, token: Token, refusal: Refusal, purchase: Purchase) -> None:
        if refusal.final:
            await self._tokens.remove(token)
        if purchase.source is not Source.TOKEN:
            raise BuyerError("still_unpaid", f"paid, and the server still answers {refusal}; not paid twice")

    async def _send(self, request: Request, token: Token | None) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        with _network_errors(paid=token is not None):
            return await self._session.request(
                request.method,
                request.url,
                headers=request.headers_with(None if token is None else token.authorization),
                data=request.stream(),
                allow_redirects=False,
                auto_decompress=False,
                raise_for_status=False,
                skip_auto_headers=_AS_SENT,
                timeout=TIMEOUT,
            )


def _unproven(refused: Refused, request: Request, offer: Offer) -> bool:
    """Whether a token for just this was paid for and never worked: buying another one would lose that money too."""
    token = refused.token
    if token.worked_on or refused.final:
        return False
    return token.path == request.path or bool(offer.scope and token.scope == offer.scope)


async def _available(response: aiohttp.ClientResponse, *, paid: bool) -> aiohttp.ClientResponse:
    if response.status != 503:
        return response
    retry_after = response.headers.get("Retry-After", "")
    when = f"; try again in {retry_after[:9]} s" if retry_after.isascii() and retry_after.isdigit() else ""
    kept = "; the token is kept" if paid else "; nothing was paid"
    code = await read_code(response)
    raise BuyerError("server_unavailable", f"the server answers 503 {code}".rstrip() + when + kept)


@contextmanager
def _network_errors(*, paid: bool = False) -> Iterator[None]:
    """The border for aiohttp's exceptions."""
    kept = "; the token is kept, run again" if paid else ""
    try:
        yield
    except TimeoutError as error:
        raise BuyerError("timeout", f"the server did not answer in time{kept}") from error
    except aiohttp.ClientPayloadError as error:
        raise BuyerError("cut_short", "the answer was cut short") from error
    except (aiohttp.ClientError, OSError) as error:
        raise BuyerError("unreachable", f"the request failed: {_reason(error)}{kept}") from error


def _reason(error: BaseException) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
