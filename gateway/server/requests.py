"""The way of a request: checks, path, route, decision, then 402 or forwarding, then one log line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp import web

from gateway.config.settings import Settings
from gateway.errors import Fault, GatewayError, OutageError, RequestError
from gateway.l402.credentials import CREDENTIAL_HEADERS
from gateway.lightning.backend import LightningBackend
from gateway.paywall.admission import Admission
from gateway.paywall.decisions import ADMIT_FREE, Admit, Challenge, Decision, Refuse
from gateway.paywall.minting import Minter
from gateway.paywall.terms import Auth
from gateway.proxy.client_address import address_chain
from gateway.proxy.forwarding import Forwarder
from gateway.proxy.headers import (
    RawHeaders,
    check_request_head,
    credential_fields,
    max_forwards,
    response_key,
    upstream_headers,
)
from gateway.proxy.hosts import canonical_host
from gateway.proxy.services import Route
from gateway.proxy.table import NoRoute, RouteTable
from gateway.server.answer import Answer
from gateway.server.answers import (
    code_of,
    error_answer,
    options_answer,
    payment_answer,
    preflight_answer,
    price_answer,
)
from gateway.server.drain import Drain
from gateway.server.exchange import Exchange
from gateway.server.lingering import answer_and_linger, large_body_unread
from gateway.server.listener import RETRIED
from gateway.server.logs import RequestLog


@dataclass(slots=True)
class RequestFlow:
    """Handles every request of the public listener."""

    settings: Settings
    table: RouteTable
    admission: Admission
    minter: Minter
    node: LightningBackend
    forwarder: Forwarder
    leaving: Drain
    log: RequestLog
    scheme: str = field(init=False)
    """How clients reach this gateway: a TLS front is known by ``public_url``."""

    def __post_init__(self) -> None:
        self.scheme = "https" if (self.settings.public_url or "").startswith("https://") else "http"

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises for a fault of the client, the upstream, the node or the database."""
        exchange = Exchange(request, time.monotonic())
        self.leaving.enter()
        try:
            try:
                answer = await self._answer(exchange)
            except GatewayError as error:
                answer = self._failed(exchange, error)
            if type(answer) is Answer:  # isinstance asks aiohttp's abstract base class, which takes a microsecond
                if self.leaving.draining:
                    answer.force_close()
                if large_body_unread(request):
                    await answer_and_linger(request, answer)
        finally:
            self.leaving.leave()
        exchange.status = answer.status
        exchange.bytes_out = answer.body_length
        self.log.request(exchange)
        return answer

    def _failed(self, exchange: Exchange, error: GatewayError) -> Answer:
        code = code_of(error)
        exchange.outcome = code
        if isinstance(error, OutageError):
            self.log.outage(exchange, error)
        return error_answer(code)

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        request = exchange.request
        head = request.raw_headers
        exchange.client = request.remote or ""
        exchange.found = check_request_head(request.method, request.version, head)
        addresses = self._addresses(exchange)
        exchange.client, exchange.proxies = addresses[0], addresses[1:]
        # check_request_head has refused HTTP/1.1 without exactly one; HTTP/1.0 may leave it out (RFC 9112 3.2)
        exchange.authority = next(iter(exchange.header_lines(b"host")), "")
        exchange.host = canonical_host(exchange.authority) if exchange.authority else ""
        if request.method == "OPTIONS" and (request.raw_path == "*" or max_forwards(head) == 0):
            exchange.outcome = "server_options"
            return options_answer()
        exchange.path, route, target = self.table.place(
            request.raw_path, scheme=self.scheme, host=exchange.host, method=_priced_method(exchange)
        )
        if isinstance(route, NoRoute):
            exchange.outcome = route.code
            return error_answer(route.code, headers={"Allow": ", ".join(route.allow)} if route.allow else None)
        exchange.route = route
        if not route.terms.free and _is_preflight(exchange):
            exchange.outcome = "preflight"
            return _preflight(exchange)
        return await self._decided(exchange, target, route)

    async def _decided(self, exchange: Exchange, target: str, route: Route) -> web.StreamResponse:
        decision: Decision = ADMIT_FREE
        if not route.terms.free:
            credentials = credential_fields(exchange.request.raw_headers, exchange.found)
            # without a coroutine where memory is enough, which is nearly always
            known = self.admission.decide_now(route.terms, credentials)
            decision = await self.admission.decide(route.terms, credentials) if known is None else known
        if isinstance(decision, Refuse):
            raise RequestError(decision.code)
        if isinstance(decision, Challenge):
            return await self._ask_for_payment(exchange, route, decision.fault)
        return await self._forward(exchange, target, route, decision)

    async def _ask_for_payment(self, exchange: Exchange, route: Route, fault: Fault) -> Answer:
        exchange.outcome = f"challenge:{fault.value}"
        if exchange.request.method == "HEAD":
            return price_answer(route.terms, fault)
        challenge = await self.minter.issue(route.terms, self._named_host(exchange, route))
        return payment_answer(
            challenge,
            route.terms,
            fault,
            network=self.node.network,
            play_money=self.node.play_money,
            invalid_status=self.settings.invalid_credential_status,
        )

    def _named_host(self, exchange: Exchange, route: Route) -> str:
        """The host in an invoice's memo, which a payer reads: not one that a stranger chose, where we know our own.

        Else somebody could resell our invoices under a name of theirs.
        """
        own = None if route.pattern.host else urlsplit(self.settings.public_url or "").hostname
        return own or exchange.host or "this gateway"

    async def _forward(self, exchange: Exchange, target: str, route: Route, admit: Admit) -> web.StreamResponse:
        request, service = exchange.request, route.service
        headers = upstream_headers(
            request.raw_headers,
            service=service,
            client_ip=exchange.client,
            client_scheme=self.scheme,
            client_host=exchange.authority,
            identity=identity_fields(route.terms.service, admit.price_msat, admit.token_id),
            proxies=exchange.proxies,
        )
        exchange.outcome = "free" if admit.token_key is None else "paid"
        relayed = await self.forwarder.forward(
            request,
            service=service,
            target=target,
            headers=headers,
            on_head=_extra_headers(exchange, route),
            fresh=RETRIED in request,
        )
        if not relayed.complete:
            exchange.outcome += ":cut"
        return relayed.response

    def _addresses(self, exchange: Exchange) -> tuple[str, ...]:
        return address_chain(
            exchange.request.remote or "",
            exchange.header_lines(b"x-forwarded-for"),
            exchange.header_lines(b"forwarded"),
            self.settings.trusted_proxies,
        )


def _priced_method(exchange: Exchange) -> str:
    """The method that decides the price: a preflight is about the request that will follow it."""
    if _is_preflight(exchange):
        return exchange.header_lines(b"access-control-request-method")[0].strip()
    return exchange.request.method


def _is_preflight(exchange: Exchange) -> bool:
    return (
        exchange.request.method == "OPTIONS"
        and bool(exchange.header_lines(b"origin"))
        and len(exchange.header_lines(b"access-control-request-method")) == 1
    )


def _preflight(exchange: Exchange) -> Answer:
    method = _priced_method(exchange)
    asked = ", ".join(exchange.header_lines(b"access-control-request-headers"))
    if not method.isalpha() or any(not (char.isalnum() or char in "-_, ") for char in asked):
        raise RequestError("bad_header")
    return preflight_answer(asked, method.upper())


@lru_cache(maxsize=4096)
def identity_fields(service: str, price_msat: int, token_id: bytes | None) -> tuple[tuple[str, str], ...]:
    """What the upstream is told about the payment: no secret, no credential."""
    paid = (("X-L402-Service", service), ("X-L402-Price-Msat", str(price_msat)))
    return paid if token_id is None else (("X-L402-Token-Id", token_id.hex()), *paid)


def _extra_headers(exchange: Exchange, route: Route) -> Callable[[int, RawHeaders], Sequence[tuple[str, str]]]:
    def extra(_status: int, fields: RawHeaders) -> Sequence[tuple[str, str]]:
        if route.terms.free:
            return ()
        return priced_fields(route, fields, has_origin=b"origin" in exchange.found)

    return extra


def priced_fields(route: Route, fields: RawHeaders, *, has_origin: bool) -> Sequence[tuple[str, str]]:
    """What a priced answer gets besides the upstream's fields: no shared cache, readable by the browser that paid.

    ``has_origin``: the request came from a browser's script (Origin).
    """
    present = [response_key(name) for name, _ in fields]
    added = [("Vary", _CREDENTIAL_HEADERS)]
    if b"cache-control" not in present or _needs_private(route, fields):
        added.append(("Cache-Control", "private"))
    # the upstream's own CORS rules win; without any, a browser that paid could not read what it bought
    if has_origin and b"access-control-allow-origin" not in present:
        added.append(("Access-Control-Allow-Origin", "*"))
    return added


_CREDENTIAL_HEADERS = ", ".join(sorted(name.title() for name in CREDENTIAL_HEADERS))
"""Where a credential may stand (L402 L82): a cache must not give one buyer's answer to who shows none of them."""

PRICED_LINES = [b"Vary: " + _CREDENTIAL_HEADERS.encode(), b"Cache-Control: private"]
"""``priced_fields`` as lines, where the upstream says nothing about caches and no browser asks."""


def _needs_private(route: Route, fields: RawHeaders) -> bool:
    """Whether to keep shared caches off: an upstream that does not know it is for sale may call its answers public.

    ``Vary`` alone does not do it: some shared caches ignore it.
    """
    lines = [value.lower() for name, value in fields if name.lower() == b"cache-control"]
    kept_private = any(word in value for value in lines for word in (b"private", b"no-store"))
    return route.terms.auth is Auth.REQUIRED and not kept_private
