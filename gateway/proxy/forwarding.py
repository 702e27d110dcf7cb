"""Forward one request to its service's upstream and stream the answer back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aiohttp import hdrs, web

from gateway.errors import RequestError, UpstreamError
from gateway.proxy.headers import RawHeaders, downstream_headers
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.relay import RelayedResponse, client_gone, encoded_fields
from gateway.proxy.services import MAX_KNOWN_SERVICES, Origin, Service, Timeouts
from gateway.proxy.upstream import Abandoned, UpstreamRequest, UpstreamResponse

CLIENT_CLOSED_REQUEST = 499
"""What a request is logged as whose client left before the answer began; never sent."""

OnHead = Callable[[int, RawHeaders], Sequence[tuple[str, str]]]
"""Told the upstream's status and end-to-end fields before a byte goes to the client; returns fields to add."""


class Relayed(NamedTuple):
    """What became of a forwarded request.

    ``response`` is what an aiohttp handler returns: it is on the wire already. ``bytes_out`` counts body bytes
    without framing. ``complete`` is False where the client's connection was cut or lost; ``fault`` then says why, None
    meaning that the client left.
    """

    response: web.StreamResponse
    status: int
    bytes_out: int
    complete: bool
    fault: UpstreamError | RequestError | None = None


class Forwarder:
    """Sends requests to upstreams, over one pool per origin, timeouts and ca_file.

    ``draining``: while True every answer ends its client's connection.
    """

    def __init__(self, *, max_connections: int = 1000, keepalive_s: float = 4.0) -> None:
        self._max_connections = max_connections
        self._keepalive_s = keepalive_s
        self._pools: dict[tuple[Origin, Timeouts, str | None], UpstreamPool] = {}
        self._known: dict[int, tuple[Service, UpstreamPool]] = {}
        self.draining = False

    def pool(self, service: Service) -> UpstreamPool:
        """The pool that serves ``service``, made on first use. Raises UpstreamUnreachable for an unreadable ca_file."""
        known = self._known.get(id(service))
        if known is not None and known[0] is service:
            return known[1]
        key = (service.origin, service.timeouts, service.ca_file)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = UpstreamPool(
                service.origin,
                service.timeouts,
                ca_file=service.ca_file,
                max_connections=self._max_connections,
                keepalive_s=self._keepalive_s,
            )
        if len(self._known) >= MAX_KNOWN_SERVICES:
            self._known.clear()
        # By identity, because hashing the values costs microseconds; held, so that no id is reused.
        self._known[id(service)] = (service, pool)
        return pool

    async def forward(
        self,
        request: web.BaseRequest,
        *,
        service: Service,
        target: str,
        headers: list[tuple[bytes, bytes]],
        on_head: OnHead,
        fresh: bool = False,
    ) -> Relayed:
        """Send ``request`` as ``target`` with ``headers`` (no framing fields) to the service and relay the answer.

        ``fresh`` is as in ``UpstreamRequest``.

        ``on_head`` is called once, before a byte goes to the client. Raises UpstreamError, and RequestError for a
        body that is too large (``body_too_large``), malformed or short (``bad_framing``) or stalls
        (``request_timeout``), only while nothing was sent. After that the client's connection is cut, and the result
        says so. A client that leaves ends its exchange within a second.
        """
        outgoing = UpstreamRequest(
            request.method,
            target,
            headers,
            body=_body(request, service),
            content_length=request.content_length if request.body_exists else None,
            abandoned=lambda: client_gone(request),
            fresh=fresh,
        )
        try:
            upstream = await self.pool(service).send(outgoing)
        except Abandoned:
            return _unanswered(request)
        try:
            return await self._relay(request, upstream, on_head, service.timeouts.idle)
        finally:
            if not upstream.finished:
                await upstream.aclose()

    async def aclose(self) -> None:
        """Close all connections to upstreams."""
        pools = list(self._pools.values())
        self._pools.clear()
        self._known.clear()
        await asyncio.gather(*(pool.aclose() for pool in pools))

    async def _relay(
        self, request: web.BaseRequest, upstream: UpstreamResponse, on_head: OnHead, idle_s: float
    ) -> Relayed:
        status = upstream.status
        fields = downstream_headers(status, upstream.headers)
        if isinstance(upstream.failure, Abandoned):
            return _unanswered(request)
        if upstream.failure is not None:
            raise upstream.failure
        response = RelayedResponse(request, status)
        fields += encoded_fields(on_head(status, fields))
        fault: UpstreamError | RequestError | None = None
        complete = False
        try:
            await response.relay(upstream, fields, keep_alive=self._keep_alive(request), write_timeout_s=idle_s)
            complete = True
        except (UpstreamError, RequestError) as error:
            if not response.prepared:
                raise
            fault = error
        except Abandoned:
            pass
        finally:
            if response.prepared and not complete:
                response.abort()
        return Relayed(response, status, response.body_length, complete, fault)

    def _keep_alive(self, request: web.BaseRequest) -> bool:
        if self.draining or not request.keep_alive:
            return False
        # Trailers of a chunked request are not to be trusted to stay with it, and what is left of an unread body
        # would be taken for the next request: both end the connection.
        return not request.body_exists or (hdrs.TRANSFER_ENCODING not in request.headers and request.content.is_eof())


class ClientBody:
    """A client's request body, chunk by chunk; every way it can go wrong is one of our errors."""

    def __init__(self, request: web.BaseRequest, *, idle_s: float, max_bytes: int | None) -> None:
        self._request = request
        self._idle_s = idle_s
        self._left = max_bytes
        self._invite = _expects_continue(request)

    def __aiter__(self) -> ClientBody:
        return self

    async def __anext__(self) -> bytes:
        if self._invite:
            self._invite = False
            self._send_continue()
        data = await self._read()
        if not data:
            raise StopAsyncIteration
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise RequestError("body_too_large")
        return data

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(self._idle_s):
                return await self._request.content.readany()
        except (OSError, RuntimeError, web.RequestPayloadError) as fault:
            if client_gone(self._request):
                raise Abandoned("the client left in the middle of its request") from None
            if isinstance(fault, TimeoutError):
                raise RequestError("request_timeout") from None
            raise RequestError("bad_framing") from None

    def _send_continue(self) -> None:
        """RFC 9110 section 10.1.1: whoever waits for a 100 gets it once the upstream is there to take the body."""
        transport = self._request.transport
        if transport is not None and not transport.is_closing():
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _body(request: web.BaseRequest, service: Service) -> ClientBody | bytes | None:
    """None without a body; bytes where all of it has arrived already, which saves a task; else a stream."""
    if not request.body_exists:
        return None
    limit = service.max_body_bytes
    if limit is not None and (request.content_length or 0) > limit:
        raise RequestError("body_too_large")
    content = request.content
    if content.is_eof() and content.exception() is None and request.content_length is not None:
        data = content.read_nowait()
        if len(data) != request.content_length:
            raise RequestError("bad_framing", "the request's body is not as long as its Content-Length")
        return data
    return ClientBody(request, idle_s=service.timeouts.idle, max_bytes=limit)


def _expects_continue(request: web.BaseRequest) -> bool:
    expectation = request.headers.get(hdrs.EXPECT, "")
    return expectation.lower() == "100-continue" and request.version >= (1, 1) and not request.content.is_eof()


def _unanswered(request: web.BaseRequest) -> Relayed:
    response = RelayedResponse(request, CLIENT_CLOSED_REQUEST)
    return Relayed(response, CLIENT_CLOSED_REQUEST, 0, complete=False)
