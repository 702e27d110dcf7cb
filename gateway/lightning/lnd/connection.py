"""One gRPC connection to lnd: pinned certificate, macaroon on every call, deadlines, bounds and a breaker.

The macaroon travels as metadata of each call: a metadata plugin costs 150 to 240 µs more per call and blocks the loop
for 4 to 9 ms at p99 (measured with grpcio 1.85).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

import grpc

from gateway.errors import GatewayError, NodeRefusedCredentials, NodeUnreachable, OutageError
from gateway.lightning.lnd.breaker import REFUSED_WEIGHS, TIMED_OUT_WEIGHS, Breaker
from gateway.lightning.lnd.credentials import Credentials, read_credentials
from gateway.lightning.lnd.methods import GET_STATE, Reply, Request, Streaming, Unary
from gateway.lightning.lnd.outcomes import AnswerOverdue, border
from gateway.lightning.lnd.rpc import lightning_pb2 as lnrpc
from gateway.lightning.settings import LndSettings

CONCURRENT_CALLS = 64
"""lnd issues invoices no faster beyond this (measured); more wait here, inside their deadline."""

_CREDENTIALS_AGE_S = 1.0  # how long files are believed before they are read again
_FILES_TIMEOUT_S = 1.0
_PROBE_PAUSES_S = (0.25, 0.5, 1.0, 2.0)  # while the node is away; the last repeats


def _options(rpc_timeout_s: float) -> list[tuple[str, int]]:
    return [
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", 0),  # AddInvoice is not idempotent
        ("grpc.use_local_subchannel_pool", 1),  # a rebuilt channel must not inherit a dead connection
        ("grpc.max_receive_message_length", 4 * 1024 * 1024),
        ("grpc.max_send_message_length", 64 * 1024),
        # A frozen node's stream is noticed by its silence. lnd allows a ping every 5 s while a call is open.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.http2.ping_timeout_ms", 5_000),  # without it the ping is given a minute (measured, grpcio 1.85)
        ("grpc.http2.max_pings_without_data", 0),
        # grpc's own pauses grow to two minutes: a node that is back must be noticed at once.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", int(rpc_timeout_s * 1000)),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ]


class _Line:
    """A channel with the credentials that it was opened with."""

    def __init__(self, settings: LndSettings, credentials: Credentials) -> None:
        self.credentials = credentials
        self.metadata = (("macaroon", credentials.macaroon.hex()),)
        self.users = 0
        self._callables: dict[str, Any] = {}
        with border():
            self.channel = grpc.aio.secure_channel(
                settings.address,
                grpc.ssl_channel_credentials(root_certificates=credentials.certificate),
                options=_options(settings.rpc_timeout_s),
            )

    def callable_for(self, method: Unary[Request, Reply] | Streaming[Request, Reply]) -> Any:
        """grpc's callable for a method, made once per channel; it takes a message and gives bytes.

        Given a deserializer, grpc.aio logs what it cannot read and returns None in its place.
        """
        if (made := self._callables.get(method.path)) is None:
            make = self.channel.unary_unary if isinstance(method, Unary) else self.channel.unary_stream
            made = make(method.path, request_serializer=method.request.SerializeToString)
            self._callables[method.path] = made
        return made


class Connection:
    """Calls to one node. ``clock`` counts seconds and paces how often credential files are read again."""

    def __init__(self, settings: LndSettings, *, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._line: _Line | None = None
        self._lines: set[_Line] = set()  # with those that were replaced while a stream still uses them
        self._credentials_at = float("-inf")
        self._distrusted = False
        self._places = asyncio.Semaphore(CONCURRENT_CALLS)
        self._breaker = Breaker()
        self._probe: asyncio.Task[None] | None = None
        self._closed = False

    async def open(self) -> None:
        """Begin to connect, so that the first call need not wait for TLS. Raises what `credentials` raises."""
        async with self._borrowed_line() as line:
            line.channel.get_state(try_to_connect=True)

    async def credentials(self) -> Credentials:
        """What is shown to the node now. Raises ``NodeRefusedCredentials`` when it cannot be read."""
        async with self._borrowed_line() as line:
            return line.credentials

    async def call(self, method: Unary[Request, Reply], request: Request) -> Reply:
        """One question, one answer, within ``rpc_timeout_s`` including the wait for a free place."""
        self._breaker.admit()
        return await self._attempt(method, request)

    async def stream(
        self, method: Streaming[Request, Reply], request: Request, *, timeout_s: float | None = None
    ) -> AsyncGenerator[Reply, None]:
        """Answers as they come, until the node ends them or ``timeout_s`` has passed. A silent node is noticed."""
        self._breaker.admit()
        async with self._borrowed_line() as line:
            call = line.callable_for(method)(request, metadata=line.metadata, timeout=timeout_s)
            try:
                with self._judged(overdue_counts=False):
                    async for reply in call:
                        self._breaker.answered()
                        yield method.reply.FromString(reply)
            finally:
                call.cancel()

    async def aclose(self) -> None:
        """End the calls that are under way (with ``NodeUnreachable``) and the probe; idempotent."""
        self._closed = True
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        while self._lines:
            await self._lines.pop().channel.close()

    async def _attempt(self, method: Unary[Request, Reply], request: Request) -> Reply:
        deadline = asyncio.get_running_loop().time() + self._settings.rpc_timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                await self._places.acquire()
        except TimeoutError:
            raise NodeUnreachable(f"the node is behind: {CONCURRENT_CALLS} calls are waiting for it") from None
        try:
            async with self._borrowed_line() as line:
                left_s = max(deadline - asyncio.get_running_loop().time(), 0.001)
                with self._judged(overdue_counts=True):
                    answer = await line.callable_for(method)(request, metadata=line.metadata, timeout=left_s)
                    reply = method.reply.FromString(answer)
        finally:
            self._places.release()
        self._breaker.answered()
        return reply

    @contextlib.asynccontextmanager
    async def _borrowed_line(self) -> AsyncIterator[_Line]:
        """The line to use now, kept open until the block ends."""
        await self._renew()
        if self._line is None or self._closed:
            raise NodeUnreachable("the connection to the node is closed")
        line = self._line
        line.users += 1
        try:
            yield line
        finally:
            line.users -= 1
            await self._close_replaced()

    async def _close_replaced(self) -> None:
        """Close the lines that nobody uses and nobody will.

        Not earlier: closing a channel cancels its calls inside the tasks that await them.
        """
        for line in [line for line in self._lines if line is not self._line and line.users == 0]:
            self._lines.discard(line)
            await line.channel.close()

    async def _renew(self) -> None:
        """Read the files again when what is known has aged.

        A file that cannot be read for a moment, while it is being replaced, does not stop a line that works.
        """
        aged = abs(self._clock() - self._credentials_at) >= _CREDENTIALS_AGE_S
        if self._closed or not (self._line is None or aged):
            return
        self._credentials_at = self._clock()  # before the wait: others go on with the line that is there
        try:
            credentials = await self._read()
        except OutageError:
            if self._line is None or self._distrusted:
                raise
            return
        self._adopt(credentials)

    async def _read(self) -> Credentials:
        try:
            async with asyncio.timeout(_FILES_TIMEOUT_S):
                return await asyncio.to_thread(read_credentials, self._settings)
        except TimeoutError:
            raise NodeUnreachable("the file system does not answer for tls_cert or macaroon") from None

    def _adopt(self, credentials: Credentials) -> None:
        old = self._line
        if self._closed or (old is not None and old.credentials == credentials and not self._distrusted):
            return
        self._line = _Line(self._settings, credentials)
        self._lines.add(self._line)
        self._distrusted = False

    @contextlib.contextmanager
    def _judged(self, *, overdue_counts: bool) -> Iterator[None]:
        """Translate what gRPC raises, and draw the consequences of how a call ended.

        A stream that reaches its deadline says nothing about the node: a payment may wait for somebody far away.
        """
        try:
            with border():
                yield
        except NodeUnreachable as failure:
            if overdue_counts or not isinstance(failure, AnswerOverdue):
                self._count(failure)
            raise NodeUnreachable(str(failure)) from None
        except GatewayError as refusal:
            self._breaker.answered()
            if isinstance(refusal, NodeRefusedCredentials):
                self._credentials_at = float("-inf")
            raise
        except asyncio.CancelledError:
            # grpc.aio cancels the awaiting task's call, not the task, when its channel is closed under it.
            task = asyncio.current_task()
            if self._closed and (task is None or not task.cancelling()):
                raise NodeUnreachable("the connection to the node was closed") from None
            raise

    def _count(self, failure: NodeUnreachable) -> None:
        self._breaker.failed(str(failure), TIMED_OUT_WEIGHS if isinstance(failure, AnswerOverdue) else REFUSED_WEIGHS)
        if self._breaker.is_open and not self._closed and (self._probe is None or self._probe.done()):
            self._probe = asyncio.create_task(self._ask_until_answered(), name="lnd probe")

    async def _ask_until_answered(self) -> None:
        """While the breaker is open, ask what needs no right and costs the node nothing, each time on a new line."""
        for pause_s in itertools.chain(_PROBE_PAUSES_S, itertools.repeat(_PROBE_PAUSES_S[-1])):
            await asyncio.sleep(pause_s)
            if not self._breaker.is_open:
                return
            self._distrusted, self._credentials_at = True, float("-inf")
            with contextlib.suppress(GatewayError):
                await self._attempt(GET_STATE, lnrpc.GetStateRequest())
