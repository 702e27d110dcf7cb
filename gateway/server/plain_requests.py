"""The way of a plain request, decided without waiting; whatever has to wait, or to be refused, goes the other way."""

from __future__ import annotations

import asyncio

from gateway.errors import GatewayError
from gateway.paywall.decisions import ADMIT_FREE, Admit, Decision
from gateway.proxy.client_address import address_chain
from gateway.proxy.headers import upstream_headers
from gateway.proxy.hosts import canonical_host
from gateway.proxy.services import Route
from gateway.proxy.table import NoRoute
from gateway.proxy.upstream import UpstreamRequest
from gateway.server.plain_exchange import Asked, PlainClient, PlainExchange
from gateway.server.plain_head import PlainFields, PlainHead, PlainHeads
from gateway.server.requests import RequestFlow, identity_fields

_SAFE = frozenset({"GET", "HEAD"})
"""Without a body these may be sent twice, and are sent without one (RFC 9110 section 9.2.1)."""


class PlainRequests:
    """Begins exchanges for requests that are admitted from memory and meet an idle upstream connection.

    Goes through the same checks, in the same order, as ``RequestFlow``, which answers all other requests. ``taken``
    counts what was begun, ``retried`` what was handed back because its connection turned out to be closed.
    """

    def __init__(self, flow: RequestFlow) -> None:
        self._flow = flow
        self.heads = PlainHeads()
        self.taken = 0
        self.retried = 0

    def begin(
        self, head: PlainHead, data: bytes, remote: str, client: PlainClient, transport: asyncio.Transport
    ) -> PlainExchange | None:
        """Forward the request in ``data``; None where that is for ``RequestFlow``, with nothing done."""
        if self._flow.leaving.draining:
            return None
        try:
            return self._begin(head, data, remote, client, transport)
        except GatewayError:
            return None  # the other path meets the same fault, and answers it

    def _begin(
        self, head: PlainHead, data: bytes, remote: str, client: PlainClient, transport: asyncio.Transport
    ) -> PlainExchange | None:
        flow, fields = self._flow, head.fields
        authority = fields.found[b"host"][0].decode("ascii")
        host = canonical_host(authority)
        path, route, target = flow.table.place(head.target, scheme=flow.scheme, host=host, method=head.method)
        if isinstance(route, NoRoute):
            return None
        limit = route.service.max_body_bytes
        if limit is not None and fields.length > limit:
            return None
        admit = self._admit(fields, route)
        if not isinstance(admit, Admit):
            return None
        body = data[head.body_at :] if fields.length else None
        addresses = self._addresses(fields, remote)
        asked = Asked(
            head.method,
            client_ip=addresses[0],
            authority=authority,
            host=host,
            path=path,
            route=route,
            outcome="free" if admit.token_key is None else "paid",
            has_origin=b"origin" in fields.found,
            replayable=body is None and head.method in _SAFE,
        )
        outgoing = f"{head.method} {target} HTTP/1.1\r\n".encode("ascii") + self._lines(fields, asked, admit, addresses)
        return self._send(asked, outgoing + body if body else outgoing, client, transport)

    def _lines(self, fields: PlainFields, asked: Asked, admit: Admit, addresses: tuple[str, ...]) -> bytes:
        """What follows the request line on its way upstream; kept with the fields that it was made from."""
        about = (asked.route, admit, asked.authority, addresses)
        if fields.sent is None or fields.sent[0] != about:
            service = asked.route.service
            headers = upstream_headers(
                fields.headers,
                service=service,
                client_ip=asked.client_ip,
                client_scheme=self._flow.scheme,
                client_host=asked.authority,
                identity=identity_fields(asked.route.terms.service, admit.price_msat, admit.token_id),
                proxies=addresses[1:],
            )
            request = UpstreamRequest(asked.method, "/", headers, bytes(fields.length) or None)
            fields.sent = (about, request.head().partition(b"\r\n")[2])
        return fields.sent[1]

    def _send(
        self, asked: Asked, outgoing: bytes, client: PlainClient, transport: asyncio.Transport
    ) -> PlainExchange | None:
        flow = self._flow
        pool = flow.forwarder.pool(asked.route.service)
        upstream = pool.take_idle(wary=not asked.replayable)
        if upstream is None:
            pool.widen()
            return None
        exchange = PlainExchange(asked, client, transport, watch=pool.watch, leaving=flow.leaving, log=flow.log)
        exchange.begin(upstream, outgoing)
        self.taken += 1
        return exchange

    def _admit(self, fields: PlainFields, route: Route) -> Decision | None:
        if route.terms.free:
            return ADMIT_FREE
        return self._flow.admission.decide_now(route.terms, fields.credentials)

    def _addresses(self, fields: PlainFields, remote: str) -> tuple[str, ...]:
        found = fields.found
        return address_chain(
            remote,
            [value.decode("ascii") for value in found.get(b"x-forwarded-for", ())],
            [value.decode("ascii") for value in found.get(b"forwarded", ())],
            self._flow.settings.trusted_proxies,
        )
