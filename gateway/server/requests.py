"""The way of a request: checks, path, route, decision, then 402 or forwarding, then one log line."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from gateway.config.settings import Settings
from gateway.errors import Fault, GatewayError, OutageError, RequestError
from gateway.lightning.backend import LightningBackend
from gateway.paywall.admission import Admission
from gateway.paywall.decisions import ADMIT_FREE, Admit, Challenge, Decision, Refuse
from gateway.paywall.minting import Minter
from gateway.proxy.client_address import address_chain
from gateway.proxy.forwarding import Forwarder
from gateway.proxy.headers import RawHeaders, check_request_head, max_forwards, upstream_headers
from gateway.proxy.hosts import canonical_host
from gateway.proxy.paths import Target, canonical_target, rewritten_path
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
from gateway.server.lingering import answer_and_linger, large_body_unread
from gateway.server.logs import RequestLog


@dataclass(slots=True)
class Exchange:
    """One request on its way, and what the log line will say of it."""

    request: web.BaseRequest
    started: float
    client: str = ""
    proxies: tuple[str, ...] = ()
    """Trusted proxies between client and us, in the order in which the request passed them."""
    host: str = ""
    path: str = ""
    route: Route | None = None
    outcome: str = "error"
    status: int = 0
    bytes_out: int = 0
    text_headers: list[tuple[str, str]] = field(default_factory=list)

    def header_lines(self, name: str) -> list[str]:
        """Values of all field lines with this lower-case name, in order."""
        return [value for key, value in self.text_headers if key.lower() == name]


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

    @property
    def scheme(self) -> str:
        """How clients reach this gateway: a TLS front is known by ``public_url``."""
        return "https" if (self.settings.public_url or "").startswith("https://") else "http"

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; never raises for a fault of the client, the upstream, the node or the database."""
        exchange = Exchange(request, time.monotonic())
        with self.leaving.request():
            try:
                answer = await self._answer(exchange)
            except GatewayError as error:
                answer = self._failed(exchange, error)
            if self.leaving.draining and isinstance(answer, Answer):
                answer.force_close()
            if isinstance(answer, Answer) and large_body_unread(request):
                await answer_and_linger(request, answer)
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
        check_request_head(request.method, (request.version.major, request.version.minor), head)
        exchange.text_headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head]
        exchange.client, *proxies = self._addresses(exchange)
        exchange.proxies = tuple(proxies)
        exchange.host = _host(exchange)
        if request.method == "OPTIONS" and (request.raw_path == "*" or max_forwards(head) == 0):
            exchange.outcome = "server_options"
            return options_answer()
        target = canonical_target(request.raw_path, scheme=self.scheme, host=exchange.host)
        exchange.path = target.path
        route = self.table.match(exchange.host, target, _priced_method(exchange))
        if isinstance(route, NoRoute):
            exchange.outcome = route.code
            return error_answer(route.code, headers={"Allow": ", ".join(route.allow)} if route.allow else None)
        exchange.route = route
        if not route.terms.free and _is_preflight(exchange):
            exchange.outcome = "preflight"
            return _preflight(exchange)
        return await self._decided(exchange, target, route)

    async def _decided(self, exchange: Exchange, target: Target, route: Route) -> web.StreamResponse:
        decision: Decision = ADMIT_FREE
        if not route.terms.free:
            decision = await self.admission.decide(route.terms, exchange.text_headers)
        if isinstance(decision, Refuse):
            raise RequestError(decision.code)
        if isinstance(decision, Challenge):
            return await self._ask_for_payment(exchange, route, decision.fault)
        return await self._forward(exchange, target, route, decision)

    async def _ask_for_payment(self, exchange: Exchange, route: Route, fault: Fault) -> Answer:
        exchange.outcome = f"challenge:{fault.value}"
        if exchange.request.method == "HEAD":
            return price_answer(route.terms, fault)
        challenge = await self.minter.issue(route.terms, exchange.host or "this gateway")
        return payment_answer(
            challenge,
            route.terms,
            fault,
            network=self.node.network,
            play_money=self.node.play_money,
            invalid_status=self.settings.invalid_credential_status,
        )

    async def _forward(self, exchange: Exchange, target: Target, route: Route, admit: Admit) -> web.StreamResponse:
        request, service = exchange.request, route.service
        headers = upstream_headers(
            request.raw_headers,
            service=service,
            client_ip=exchange.client,
            client_scheme=self.scheme,
            client_host=exchange.host,
            identity=_identity(route, admit),
            proxies=exchange.proxies,
        )
        exchange.outcome = "free" if admit.token_key is None else "paid"
        relayed = await self.forwarder.forward(
            request,
            service=service,
            target=rewritten_path(target, service.rewrite),
            headers=headers,
            on_head=_extra_headers(exchange, route),
        )
        if not relayed.complete:
            exchange.outcome += ":cut"
        return relayed.response

    def _addresses(self, exchange: Exchange) -> tuple[str, ...]:
        return address_chain(
            exchange.request.remote or "",
            exchange.header_lines("x-forwarded-for"),
            exchange.header_lines("forwarded"),
            self.settings.trusted_proxies,
        )


def _host(exchange: Exchange) -> str:
    lines = exchange.header_lines("host")
    # check_request_head has refused HTTP/1.1 without exactly one; HTTP/1.0 may leave it out (RFC 9112 3.2)
    return canonical_host(lines[0]) if lines else ""


def _priced_method(exchange: Exchange) -> str:
    """The method that decides the price: a preflight is about the request that will follow it."""
    if _is_preflight(exchange):
        return exchange.header_lines("access-control-request-method")[0].strip()
    return exchange.request.method


def _is_preflight(exchange: Exchange) -> bool:
    return (
        exchange.request.method == "OPTIONS"
        and bool(exchange.header_lines("origin"))
        and len(exchange.header_lines("access-control-request-method")) == 1
    )


def _preflight(exchange: Exchange) -> Answer:
    method = _priced_method(exchange)
    asked = ", ".join(exchange.header_lines("access-control-request-headers"))
    if not method.isalpha() or any(not (char.isalnum() or char in "-_, ") for char in asked):
        raise RequestError("bad_header")
    return preflight_answer(asked, method.upper())


def _identity(route: Route, admit: Admit) -> Sequence[tuple[str, str]]:
    identity = [("X-L402-Service", route.terms.service), ("X-L402-Price-Msat", str(admit.price_msat))]
    if admit.token_id is not None:
        identity.insert(0, ("X-L402-Token-Id", admit.token_id.hex()))
    return identity


def _extra_headers(exchange: Exchange, route: Route) -> Callable[[int, RawHeaders], Sequence[tuple[str, str]]]:
    """What a priced answer gets besides the upstream's fields: no shared cache, readable by the browser that paid."""

    def extra(status: int, fields: RawHeaders) -> Sequence[tuple[str, str]]:
        exchange.status = status
        if route.terms.free:
            return ()
        present = {name.lower() for name, _ in fields}
        added = [("Vary", "Authorization")]
        if b"cache-control" not in present:
            added.append(("Cache-Control", "private"))
        # the upstream's own CORS rules win; without any, a browser that paid could not read what it bought
        if b"access-control-allow-origin" not in present and exchange.header_lines("origin"):
            added.append(("Access-Control-Allow-Origin", "*"))
        return added

    return extra
