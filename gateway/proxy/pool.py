"""Connections to one upstream, kept and handed out without an await in between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque

from gateway.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from gateway.proxy.connection import RECEIVE_BYTES, NoAnswer, UpstreamConnection
from gateway.proxy.services import Origin, Timeouts
from gateway.proxy.upstream import CHECK_INTERVAL_S, UpstreamRequest, UpstreamResponse
from gateway.proxy.watch import Watch

CLOSE_TIMEOUT_S = 2.0


class UpstreamPool:
    """Connections to ``origin``: at most ``max_connections``, each idle at most ``keepalive_s`` seconds.

    Four seconds are less than the five after which common servers close an idle connection, so that a request rarely
    meets a closing one. TLS is verified against the system's authorities, or those in ``ca_file`` alone.

    Belongs to the event loop that first uses it. Raises UpstreamUnreachable when ``ca_file`` cannot be read.
    ``watch`` keeps the deadlines of its exchanges.
    """

    def __init__(
        self,
        origin: Origin,
        timeouts: Timeouts,
        *,
        ca_file: str | None = None,
        max_connections: int = 1000,
        keepalive_s: float = 4.0,
    ) -> None:
        self.origin = origin
        self._timeouts = timeouts
        self._tls = _tls_context(ca_file) if origin.scheme == "https" else None
        self._max_connections = max_connections
        self._keepalive_s = keepalive_s
        self._receive_buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._open: set[UpstreamConnection] = set()
        self._idle: dict[UpstreamConnection, float] = {}
        self._reserved = 0
        self._queue: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self.watch = Watch(min(CHECK_INTERVAL_S, timeouts.first_byte / 4, timeouts.idle / 4))
        self._widening: asyncio.Task[None] | None = None
        self._closed = False
        self._empty = asyncio.Event()

    @property
    def open_connections(self) -> int:
        """Connections that exist now, idle ones included."""
        return len(self._open)

    @property
    def idle_connections(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Send ``request`` and return its answer once the head is there; the caller must ``aclose()`` it.

        Sent again, once and on a new connection, only where a kept connection closed without a byte of an answer and
        the method is safe and bodyless (RFC 9112 section 9.3.1). Raises UpstreamUnreachable when there is no
        connection (refused, no address, TLS not verified, all busy for ``timeouts.connect`` seconds), UpstreamTimeout,
        BadUpstreamResponse, and what the request's body raised.
        """
        if request.fresh:
            return await self._exchange(await self._acquire(fresh=True), request)
        connection = self.take_idle(wary=not request.replayable) or await self._acquire(fresh=False)
        response = UpstreamResponse(connection, request, self._timeouts, self.watch)
        try:
            await response.open()
        except NoAnswer:
            await response.aclose()
            if connection.exchanges == 1 or not request.replayable:
                raise
        except BaseException:
            await response.aclose()
            raise
        else:
            return response
        return await self._exchange(await self._acquire(fresh=True), request)

    def take_idle(self, *, wary: bool = False) -> UpstreamConnection | None:
        """The connection that was used last, if one is idle, without waiting; the caller must ``begin()`` at once.

        ``wary`` asks the kernel too whether the upstream has closed it: for requests that cannot be sent twice.
        """
        oldest = asyncio.get_running_loop().time() - self._keepalive_s
        while self._idle:
            connection, since = self._idle.popitem()
            if since > oldest and connection.usable and not (wary and connection.has_news()):
                return connection
            connection.abort()
        return None

    def widen(self) -> None:
        """Open one more connection in the background, where there are some but none was idle for who cannot wait.

        Nothing else would: by the time that those who can wait are ready to, one of the others is mostly free again.
        """
        room = bool(self._open) and len(self._open) + self._reserved < self._max_connections
        if room and self._widening is None and not self._closed:
            self._reserved += 1
            self._widening = asyncio.create_task(self._widen())

    async def aclose(self) -> None:
        """Close every connection; exchanges under way fail."""
        self._closed = True
        if self._widening is not None:
            self._widening.cancel()
            await asyncio.wait([self._widening])
        if self._sweeper is not None:
            self._sweeper.cancel()
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_exception(UpstreamUnreachable("the gateway is closing"))
        for connection in tuple(self._open):
            connection.fail(UpstreamUnreachable("the gateway is closing"))
        if self._open:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await self._empty.wait()
        self.watch.close()

    # ConnectionOwner

    def connection_idle(self, connection: UpstreamConnection) -> None:
        """A connection finished its exchange in good order: to the next who waits, or kept."""
        if self._closed:
            connection.abort()
        elif not self._grant(connection):
            loop = asyncio.get_running_loop()
            self._idle[connection] = loop.time()
            if self._sweeper is None:
                self._sweeper = loop.call_later(self._keepalive_s, self._sweep)

    def connection_closed(self, connection: UpstreamConnection) -> None:
        """A connection is gone: its place is free."""
        self._idle.pop(connection, None)
        if connection in self._open:
            self._open.remove(connection)
            self._free_place()
        if not self._open:
            self._empty.set()

    # Inside

    async def _exchange(self, connection: UpstreamConnection, request: UpstreamRequest) -> UpstreamResponse:
        response = UpstreamResponse(connection, request, self._timeouts, self.watch)
        try:
            await response.open()
        except BaseException:
            await response.aclose()
            raise
        return response

    async def _acquire(self, *, fresh: bool) -> UpstreamConnection:
        """An idle connection or a new one; ``fresh`` insists on a new one."""
        while True:
            if self._closed:
                raise UpstreamUnreachable("the gateway is closing")
            if not fresh and (idle := self.take_idle()) is not None:
                return idle
            if len(self._open) + self._reserved < self._max_connections:
                self._reserved += 1
                return await self._connect()
            if self._idle:
                self._idle.popitem()[0].abort()
            handed = await self._wait_in_queue()
            if handed is None:
                return await self._connect()
            if handed.usable and not fresh:
                return handed
            handed.abort()

    async def _wait_in_queue(self) -> UpstreamConnection | None:
        """A connection that became idle, or None: a place for a new one, reserved for the caller."""
        if len(self._queue) >= self._max_connections:
            raise UpstreamUnreachable("too many requests wait for the upstream")
        waiter: asyncio.Future[UpstreamConnection | None] = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        try:
            async with asyncio.timeout(self._timeouts.connect):
                return await waiter
        except BaseException as reason:
            self._leave_queue(waiter)
            if isinstance(reason, TimeoutError):
                raise UpstreamUnreachable("every connection to the upstream is busy") from None
            raise

    def _leave_queue(self, waiter: asyncio.Future[UpstreamConnection | None]) -> None:
        if waiter in self._queue:
            self._queue.remove(waiter)
        if not waiter.done() or waiter.cancelled() or waiter.exception() is not None:
            return
        # Granted in the same turn of the loop in which the wait was given up: pass it on.
        granted = waiter.result()
        if granted is not None:
            self.connection_idle(granted)
        else:
            self._reserved -= 1
            self._free_place()

    async def _connect(self) -> UpstreamConnection:
        """Open a connection on a place that the caller has reserved."""
        try:
            connection = await self._dial()
        except BaseException:
            self._reserved -= 1
            self._free_place()
            raise
        self._reserved -= 1
        if not connection.usable:
            self._free_place()
            raise UpstreamUnreachable("the upstream closed the connection at once")
        if self._closed:
            connection.abort()
            raise UpstreamUnreachable("the gateway is closing")
        self._open.add(connection)
        self._empty.clear()
        return connection

    async def _dial(self) -> UpstreamConnection:
        origin = self.origin
        try:
            async with asyncio.timeout(self._timeouts.connect):
                transport, connection = await asyncio.get_running_loop().create_connection(
                    lambda: UpstreamConnection(self, self._receive_buffer),
                    origin.host,
                    origin.port,
                    ssl=self._tls,
                    server_hostname=origin.host if self._tls else None,
                )
        except TimeoutError:
            raise UpstreamTimeout("no connection to the upstream in time") from None
        except ssl.SSLCertVerificationError as fault:
            raise UpstreamUnreachable(f"the upstream's certificate was refused: {fault.verify_message}") from None
        except ssl.SSLError as fault:
            raise UpstreamUnreachable(f"the upstream's TLS was refused: {fault.reason or 'handshake failed'}") from None
        except (OSError, UnicodeError) as fault:
            raise UpstreamUnreachable(f"no connection to the upstream: {type(fault).__name__}") from None
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _grant(self, granted: UpstreamConnection | None) -> bool:
        """Give a connection, or with None a place for one, to whoever has waited longest."""
        while self._queue:
            waiter = self._queue.popleft()
            if not waiter.done():
                waiter.set_result(granted)
                return True
        return False

    async def _widen(self) -> None:
        try:
            connection = await self._connect()
        except UpstreamError:
            return  # whoever needs a connection meets the fault, and answers it
        finally:
            self._widening = None
        self.connection_idle(connection)

    def _free_place(self) -> None:
        if self._grant(None):
            self._reserved += 1

    def _sweep(self) -> None:
        """Close what has been idle too long; runs only while something is idle."""
        self._sweeper = None
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._keepalive_s
        for connection, since in list(self._idle.items()):
            if since > oldest:
                self._sweeper = loop.call_at(since + self._keepalive_s, self._sweep)
                return
            del self._idle[connection]
            connection.abort()


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Certificate and name are verified; HTTP/1.1 is all that is spoken."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise UpstreamUnreachable("the upstream's ca_file cannot be read") from None
    if ca_file is not None:
        # Python 3.13 began to refuse authorities without a keyUsage extension, which people's own ones often lack;
        # whoever names an authority's file trusts it.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    return context
