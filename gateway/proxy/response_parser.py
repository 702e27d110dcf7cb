"""Strict reading of an upstream's answers, without I/O: bytes in, head and body out."""

from __future__ import annotations

from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.errors import BadUpstreamResponse
from gateway.proxy.response_head import MAX_HEAD_BYTES, Framing, ResponseHead, check_interim, response_head

MAX_INTERIM = 100
"""1xx responses before the final one."""


class HeadAndBody(Protocol):
    """Who receives an answer. Both methods are called synchronously, ``on_head`` once and first."""

    def on_head(self, head: ResponseHead) -> None:
        """A checked final head."""

    def on_body(self, data: bytes) -> None:
        """Some of the body, without transfer coding; never empty."""


class _Refused(Exception):
    """Stops the C parser from inside a callback; the reason is in ``ResponseParser.violation``."""


class _Callbacks:
    """What the C parser calls; one instance and one C parser serve all answers of a connection."""

    def __init__(self) -> None:
        self.http = HttpResponseParser(self)
        self.receiver: HeadAndBody | None = None
        self.to_head = False
        self.head: ResponseHead | None = None
        self.complete = False
        self.trailing = False
        self.moved = False
        self.violation: BadUpstreamResponse | None = None
        self._interims = 0
        self._interim = False
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []

    def expect(self, receiver: HeadAndBody, *, to_head: bool) -> None:
        self.receiver = receiver
        self.to_head = to_head
        self.head = None
        self.complete = False
        self._interims = 0

    def on_message_begin(self) -> None:
        if self.complete or self.receiver is None:
            self.trailing = True
            raise _Refused
        self._reason = b""
        self._headers = []

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is None:
            self._headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        status = self.http.get_status_code()
        try:
            if 100 <= status <= 199:
                self._on_interim(status)
                return
            head = response_head(
                status, self._reason, self.http.get_http_version(), self._headers, to_head=self.to_head
            )
        except BadUpstreamResponse as error:
            self.violation = error
            raise _Refused from None
        self.head = head
        self.moved = True
        if self.receiver is not None:
            self.receiver.on_head(head)
        self.complete = self.to_head

    def _on_interim(self, status: int) -> None:
        check_interim(status, self._headers)
        self._interims += 1
        if self._interims > MAX_INTERIM:
            raise BadUpstreamResponse("the upstream sent too many interim responses")
        self._interim = True

    def on_body(self, data: bytes) -> None:
        if self.complete or self.receiver is None:
            self.trailing = True
            raise _Refused
        self.moved = True
        self.receiver.on_body(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self.moved = True
        else:
            self.complete = True


class ResponseParser:
    """Reads the answers of one connection, one after the other.

    ``expect()`` announces a request; then ``feed()`` takes what arrives until ``complete``. Between ``complete`` and
    the next ``expect()`` nothing may arrive. Interim responses are swallowed, trailers dropped (RFC 9110 section
    6.5.1 lets a recipient discard them).
    """

    def __init__(self) -> None:
        self._callbacks = _Callbacks()
        self._quiet_bytes = 0
        self._tail = b""
        self.started = False

    @property
    def complete(self) -> bool:
        """The whole answer was read."""
        return self._callbacks.complete

    @property
    def reusable(self) -> bool:
        """The whole answer was read, nothing followed it, and the upstream keeps the connection open."""
        callbacks = self._callbacks
        return callbacks.complete and not callbacks.trailing and callbacks.head is not None and callbacks.head.reusable

    def expect(self, receiver: HeadAndBody, *, to_head: bool) -> None:
        """The next answer goes to ``receiver``; ``to_head`` says that its request is HEAD, so it has no body."""
        if self._callbacks.to_head:
            # The C parser cannot be told about HEAD: after an announced length it still waits for a body.
            self.close()
            self._callbacks = _Callbacks()
        self._callbacks.expect(receiver, to_head=to_head)
        self.started = False
        self._quiet_bytes = 0
        self._tail = b""

    def feed(self, data: bytes | memoryview) -> None:
        """Take what arrived. Raises BadUpstreamResponse unless the answer was complete before the fault."""
        callbacks = self._callbacks
        self.started = True
        callbacks.moved = False
        try:
            callbacks.http.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as fault:
            if not callbacks.complete:
                if callbacks.violation is not None:
                    raise callbacks.violation from None
                raise BadUpstreamResponse(f"the upstream's answer breaks HTTP: {fault}") from fault.__context__
            callbacks.trailing = True
        if callbacks.to_head:
            self._check_head_is_all(bytes(data))
        if not callbacks.complete:
            self._bound(len(data))

    def feed_eof(self) -> None:
        """The upstream ended its side. Raises BadUpstreamResponse if that cuts the answer."""
        callbacks = self._callbacks
        if callbacks.complete:
            callbacks.trailing = True
        elif callbacks.head is not None and callbacks.head.framing is Framing.CLOSE:
            callbacks.complete = True
        elif self.started:
            raise BadUpstreamResponse("the upstream ended the connection in the middle of its answer")
        else:
            raise BadUpstreamResponse("the upstream ended the connection without an answer")

    def close(self) -> None:
        """Break the reference cycle with the C parser, which the garbage collector would otherwise have to find."""
        self._callbacks.receiver = None
        del self._callbacks.http

    def _bound(self, arrived: int) -> None:
        """Head, trailers and chunk extensions are held by the C parser: limit what comes without progress."""
        self._quiet_bytes = 0 if self._callbacks.moved else self._quiet_bytes + arrived
        if self._quiet_bytes > MAX_HEAD_BYTES:
            raise BadUpstreamResponse("the upstream's header section, trailers or chunk extensions are too long")

    def _check_head_is_all(self, data: bytes) -> None:
        """After the answer to HEAD nothing may follow, not even what the C parser would hold back as a chunk size."""
        seen = self._tail + data
        self._tail = seen[-3:]
        if self._callbacks.complete and seen.find(b"\r\n\r\n") != len(seen) - 4:
            self._callbacks.trailing = True
