"""A scripted seller for the buyer's tests: real sockets, real macaroons, real invoices of a simulated node."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from gateway.client import Budget, Buyer, MemoryTokenStore, TokenStore
from gateway.l402 import caveats
from gateway.l402.amounts import Msat
from gateway.l402.challenge import format_challenge
from gateway.l402.identifier import Identifier
from gateway.l402.invoice_state import InvoiceState
from gateway.l402.minting import mint
from gateway.lightning.backend import NewInvoice
from gateway.lightning.payer import Payer, Payment
from gateway.lightning.settings import SimulatedSettings
from gateway.lightning.simulated import SimulatedNode, SimulatedPayer

SAT = 1_000


@dataclass(frozen=True)
class Seen:
    """A request as the seller received it."""

    method: str
    path: str
    authorizations: tuple[str, ...]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Sold:
    """A token that the seller issued. ``text`` is the base64 that it sent."""

    text: str
    service: str
    route: str
    payment_hash: bytes


@dataclass
class Seller:
    """``prices`` maps a path to (service, route, millisatoshi); a path that is not in it is free."""

    node: SimulatedNode
    base: str = ""
    prices: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    sold: dict[str, Sold] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    """Token text -> the code with which it is refused from now on."""
    challenge: Callable[[str, str], str] | None = None
    """Rewrites (token, invoice) into another WWW-Authenticate line."""
    answers: dict[str, Callable[[], web.StreamResponse]] = field(default_factory=dict)
    """Path -> what to answer instead, paid or not."""
    paid_answers: dict[str, Callable[[], web.StreamResponse]] = field(default_factory=dict)
    unsettled: int = 0
    """How many paid requests are told payment_not_settled first."""
    valid_until: int | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        authorizations = tuple(request.headers.getall("Authorization", ()))
        self.seen.append(Seen(request.method, request.path, authorizations, dict(request.headers), body))
        if request.path in self.answers:
            return self.answers[request.path]()
        wanted = self.prices.get(request.path)
        if wanted is None:
            return web.Response(body=b"free:" + body)
        code = self._fault(authorizations, wanted[0], wanted[1])
        if code == "" and request.path in self.paid_answers:
            return self.paid_answers[request.path]()
        if code == "":
            return web.Response(body=f"paid {request.path}:".encode() + body)
        return await self._challenge(*wanted, code)

    async def payments(self) -> int:
        """How many of the issued invoices were paid."""
        states = [(await self.node.lookup(sold.payment_hash)).state for sold in self.sold.values()]
        return states.count(InvoiceState.SETTLED)

    def paid_requests(self) -> list[Seen]:
        return [seen for seen in self.seen if any(a.startswith("L402 ") for a in seen.authorizations)]

    def _fault(self, authorizations: tuple[str, ...], service: str, route: str) -> str:
        credential = next((value[5:] for value in authorizations if value.startswith("L402 ")), None)
        if credential is None:
            return "payment_required"
        text, _, preimage = credential.partition(":")
        sold = self.sold.get(text)
        if sold is None or text in self.refusals:
            return self.refusals.get(text, "invalid_token")
        if hashlib.sha256(bytes.fromhex(preimage)).digest() != sold.payment_hash:
            return "invalid_preimage"
        if (sold.service, sold.route) != (service, route):
            return "insufficient_scope"
        if self.unsettled:
            self.unsettled -= 1
            return "payment_not_settled"
        return ""

    async def _challenge(self, service: str, route: str, price: int, code: str) -> web.Response:
        invoice = await self.node.create_invoice(NewInvoice(Msat(price), 600, f"{service}/{route}"))
        signed = [caveats.services_caveat([(service, 0)]), caveats.route_caveat([route]), caveats.price_caveat(price)]
        if self.valid_until is not None:
            signed.append(caveats.valid_until_caveat(service, self.valid_until))
        raw = mint(
            root_key=secrets.token_bytes(32),
            identifier=Identifier(invoice.payment_hash, secrets.token_bytes(32)).encode(),
            caveats=signed,
        )
        text = base64.b64encode(raw).decode()
        self.sold[text] = Sold(text, service, route, invoice.payment_hash)
        line = self.challenge(text, invoice.bolt11) if self.challenge else format_challenge(raw, invoice.bolt11)
        return web.json_response({"error": code}, status=402, headers={"WWW-Authenticate": line})


@asynccontextmanager
async def running_seller(folder: Path) -> AsyncIterator[Seller]:
    """A seller and its node, each on a port of its own."""
    node = SimulatedNode(SimulatedSettings("regtest", ("127.0.0.1", 0), folder / "node.db"))
    await node.start()
    seller = Seller(node)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", seller.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        seller.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield seller
    finally:
        await runner.cleanup()
        await node.aclose()


class CountingPayer:
    """A wallet that notes what it was asked to pay; ``before`` may fail or wait first."""

    def __init__(self, payer: Payer) -> None:
        self._payer = payer
        self.asked: list[str] = []
        self.failures: list[Exception] = []
        self.max_fees: list[int] = []

    async def pay(self, bolt11: str, *, max_fee_msat: Msat, timeout_s: float) -> Payment:
        self.asked.append(bolt11)
        self.max_fees.append(max_fee_msat)
        if self.failures:
            raise self.failures.pop(0)
        return await self._payer.pay(bolt11, max_fee_msat=max_fee_msat, timeout_s=timeout_s)

    async def aclose(self) -> None:
        await self._payer.aclose()


@asynccontextmanager
async def running_buyer(
    seller: Seller,
    *,
    store: TokenStore | None = None,
    budget: Budget | None = None,
    payer: Payer | None = None,
    reuse: bool = True,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Buyer]:
    """A buyer with a wallet on the seller's node and 100 sat to spend on each purchase."""
    wallet = payer or SimulatedPayer(seller.node.endpoint)
    buyer = Buyer(
        wallet,
        budget=budget or Budget(Msat(100 * SAT)),
        tokens=store if store is not None else MemoryTokenStore(),
        networks={"regtest"},
        reuse=reuse,
        clock=clock,
    )
    try:
        yield buyer
    finally:
        await buyer.aclose()
        await wallet.aclose()
