"""One plain request between its client's transport and an upstream connection: no task, no request, no response.

Every step is a call from one of the two sockets' events, or from the watch when nothing happens for too long.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from gateway.errors import BadUpstreamResponse, GatewayError, UpstreamTimeout
from gateway.proxy.connection import NoAnswer, UpstreamConnection
from gateway.proxy.fields import RawHeaders
from gateway.proxy.forwarding import CLIENT_CLOSED_REQUEST
from gateway.proxy.headers import downstream_headers
from gateway.proxy.relay import compose_head, encoded_fields, framed_chunk, head_of_lines
from gateway.proxy.response_head import Framing, ResponseHead
from gateway.proxy.response_headers import simple_lines
from gateway.proxy.services import Route
from gateway.proxy.watch import Watch
from gateway.server.answers import code_of, error_answer
from gateway.server.drain import Drain
from gateway.server.logs import RequestLog
from gateway.server.request_lines import RequestLine
from gateway.server.requests import PRICED_LINES, priced_fields


class PlainClient(Protocol):
    """The client's connection, as an exchange sees it."""

    @property
    def writing_paused(self) -> bool:
        """The client takes less than it is sent."""

    @property
    def last_request(self) -> bool:
        """Nothing more comes from this client."""

    def exchange_over(self, *, keep: bool) -> None:
        """The answer was written; ``keep`` says that another request may follow."""

    def exchange_again(self) -> None:
        """Nothing came of it, and nothing was sent: the request is to be taken up anew, by the other path."""


class Asked:
    """What a plain request is about, for its answer and its log line."""

    __slots__ = (
        "authority",
        "client_ip",
        "has_origin",
        "host",
        "method",
        "outcome",
        "path",
        "replayable",
        "route",
        "started",
    )

    def __init__(
        self,
        method: str,
        *,
        client_ip: str,
        authority: str,
        host: str,
        path: str,
        route: Route,
        outcome: str,
        has_origin: bool,
        replayable: bool,
    ) -> None:
        self.started = time.monotonic()
        self.method = method
        self.client_ip = client_ip
        self.authority = authority
        self.host = host
        self.path = path
        self.route = route
        self.outcome = outcome
        self.has_origin = has_origin
        self.replayable = replayable


class PlainExchange:
    """A ``ResponseSink`` that writes what arrives to the client, in one write per read.

    A client that takes nothing pauses the upstream, and is cut off after the service's idle time; one that leaves
    closes it.
    """

    __slots__ = ("_asked", "_begun", "_body_bytes", "_chunked", "_chunks", "_client", "_deadline", "_draining", "_head",
                 "_leaving", "_log", "_loop", "_over", "_persistent", "_transport", "_upstream", "_watch")  # fmt: skip

    def __init__(
        self, asked: Asked, client: PlainClient, transport: asyncio.Transport, *, watch: Watch, leaving: Drain,
        log: RequestLog,
    ) -> None:  # fmt: skip
        self._asked = asked
        self._client = client
        self._transport = transport
        self._watch = watch
        self._leaving = leaving
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._upstream: UpstreamConnection | None = None
        self._head: ResponseHead | None = None
        self._chunks: list[bytes] = []
        self._deadline = 0.0
        self._body_bytes = 0
        self._begun = False
        self._chunked = False
        self._persistent = True
        self._draining = False
        self._over = False

    def begin(self, upstream: UpstreamConnection, request: bytes) -> None:
        """Send ``request``, whole, over a connection that was idle."""
        self._upstream = upstream
        self._leaving.enter()
        self._wait(self._asked.route.service.timeouts.first_byte)
        self._watch.add(self)
        upstream.begin(self, request, to_head=self._asked.method == "HEAD")

    # ResponseSink

    def on_head(self, head: ResponseHead) -> None:
        """The upstream: a final head."""
        self._head = head

    def on_body(self, data: bytes) -> None:
        """The upstream: some of the body."""
        self._chunks.append(data)

    def on_read(self) -> None:
        """The upstream: that was all for now."""
        if self._head is None or self._over:
            return
        self._wait(self._asked.route.service.timeouts.idle)
        if self._write(last=False) and self._client.writing_paused and self._upstream is not None:
            self._upstream.pause_reading()

    def on_end(self) -> None:
        """The upstream: complete. Its connection is another's from here on."""
        self._upstream = None
        if self._over or not self._write(last=True):
            return
        if self._client.writing_paused:
            self._draining = True
            self._wait(self._asked.route.service.timeouts.idle)
        else:
            self._finished()

    def on_failure(self, error: GatewayError) -> None:
        """The upstream: incomplete, for good."""
        self._upstream = None
        if self._over:
            return
        if self._begun:
            self._cut()
        elif isinstance(error, NoAnswer) and self._asked.replayable:
            # a kept connection that the upstream had closed meanwhile (RFC 9112 section 9.3.1)
            self._end()
            self._client.exchange_again()
        else:
            self._refuse(error)

    # The client's connection

    def resume(self) -> None:
        """The client takes bytes again."""
        if self._draining and not self._over:
            self._finished()
        elif self._upstream is not None:
            self._wait(self._asked.route.service.timeouts.idle)
            self._upstream.resume_reading()

    def abandon(self) -> None:
        """The client is gone: nobody waits for the answer."""
        if not self._over:
            self._drop_upstream()
            status = self._head.status if self._begun and self._head is not None else CLIENT_CLOSED_REQUEST
            self._end()
            self._say(status, f"{self._asked.outcome}:cut", self._body_bytes)

    # The watch

    def check(self, now: float) -> None:
        """Ends what has waited too long: for the upstream, or for a client that takes nothing."""
        if self._over or now < self._deadline:
            return
        if self._draining or self._client.writing_paused:
            self._cut()
        else:
            self._drop_upstream()
            self.on_failure(UpstreamTimeout("the upstream fell silent"))

    def _wait(self, limit_s: float) -> None:
        self._deadline = self._loop.time() + limit_s

    # Writing

    def _write(self, *, last: bool) -> bool:
        """What has arrived, head included where it is new, in one write; False where that ended the exchange."""
        if self._transport.is_closing():
            self.abandon()
            return False
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        head = b""
        if not self._begun:
            try:
                head = self._composed_head()
            except BadUpstreamResponse as error:
                self._drop_upstream()
                self._refuse(error)
                return False
            self._begun = True
        self._body_bytes += len(body)
        if self._chunked:
            body = framed_chunk(body, last=last)
        if head or body:
            self._transport.write(head + body)
        return True

    def _composed_head(self) -> bytes:
        head = self._head
        if head is None:
            raise BadUpstreamResponse("the answer ended before its head")
        self._chunked = head.framing is Framing.CHUNKED or head.framing is Framing.CLOSE
        self._persistent = not (self._leaving.draining or self._client.last_request)
        option = b"" if self._persistent else b"close"
        asked, simple = self._asked, simple_lines(head)
        free = asked.route.terms.free
        if simple is not None and (free or not (asked.has_origin or b"cache-control" in simple[1])):
            lines = simple[0] if free else simple[0] + PRICED_LINES
            return head_of_lines(head, lines, chunked=self._chunked, connection=option)
        fields: RawHeaders = downstream_headers(head.status, head.headers)
        if not free:
            fields = [*fields, *encoded_fields(priced_fields(asked.route, fields, has_origin=asked.has_origin))]
        return compose_head(head, fields, chunked=self._chunked, connection=option)

    def _refuse(self, error: GatewayError) -> None:
        """Nothing was sent: the client gets an error of ours."""
        if self._transport.is_closing():
            self.abandon()
            return
        code = code_of(error)
        answer = error_answer(code)
        if self._leaving.draining or self._client.last_request:
            answer.force_close()
        self._transport.write(answer.encoded(to_head=self._asked.method == "HEAD"))
        self._end()
        self._say(answer.status, code, answer.body_length)
        self._client.exchange_over(keep=not answer.closes)

    # The end

    def _finished(self) -> None:
        self._end()
        self._say(self._head.status if self._head else 0, self._asked.outcome, self._body_bytes)
        self._client.exchange_over(keep=self._persistent)

    def _cut(self) -> None:
        """Close the client's connection, so that a part is never taken for the whole (RFC 9112 section 8)."""
        self.abandon()
        self._transport.abort()

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()

    def _end(self) -> None:
        self._over = True
        self._watch.remove(self)
        self._leaving.leave()

    def _say(self, status: int, outcome: str, body_bytes: int) -> None:
        asked = self._asked
        terms = asked.route.terms
        now = time.monotonic()
        self._log.line(
            RequestLine(
                time.time(), asked.client_ip, asked.method, asked.host, asked.path, terms.service, terms.route, status,
                outcome, body_bytes, (now - asked.started) * 1_000,
            )
        )  # fmt: skip
