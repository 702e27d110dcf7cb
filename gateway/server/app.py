"""The composition root: settings become a running gateway, and nothing else in the package knows all the parts."""

from __future__ import annotations

import asyncio
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from gateway.config.settings import Settings
from gateway.errors import OutageError
from gateway.lightning.backend import LightningBackend
from gateway.paywall.admission import Admission
from gateway.paywall.caches import Caches
from gateway.paywall.minting import Minter
from gateway.paywall.settlement import Settlements
from gateway.paywall.watching import SettlementWatcher
from gateway.proxy.forwarding import Forwarder
from gateway.proxy.table import RouteTable
from gateway.server.demo_upstream import DemoUpstream
from gateway.server.drain import Drain
from gateway.server.fast_path import FastListener, fast_path_fits
from gateway.server.listener import Listener, bound_address, listen, require_safe_runtime
from gateway.server.logs import RequestLog
from gateway.server.nodes import build_node
from gateway.server.plain_requests import PlainRequests
from gateway.server.requests import RequestFlow
from gateway.server.revocations import RevocationFeed
from gateway.storage.opening import open_store
from gateway.storage.store import Store

WORKER_RESTART_S = 1.0
IDLE_CONNECTIONS_S = 5.0
"""While draining, how long an idle keep-alive connection may wait for its client to speak once more."""


@dataclass(slots=True)
class Gateway:
    """A gateway that accepts requests on ``address``."""

    settings: Settings
    address: tuple[str, int]
    node: LightningBackend
    store: Store
    _listener: Listener
    _accepting: asyncio.Server
    _drain: Drain
    _forwarder: Forwarder

    async def drain(self, timeout_s: float, *, idle_s: float = IDLE_CONNECTIONS_S) -> bool:
        """Take no new connections, finish what is in flight; False when ``timeout_s`` cut some of it off."""
        self._drain.begin()
        self._forwarder.draining = True
        self._accepting.close()
        finished = await self._drain.wait_idle(timeout_s)
        # A keep-alive client may be about to speak: closing at once would fail its request.
        deadline = time.monotonic() + idle_s
        while self._listener.connections and time.monotonic() < deadline:  # noqa: ASYNC110 - aiohttp has no event
            await asyncio.sleep(0.05)
        finished = await self._drain.wait_idle(timeout_s) and finished
        await self._listener.shutdown(1.0)
        return finished


@asynccontextmanager
async def running_gateway(
    settings: Settings,
    log: RequestLog,
    *,
    clock: Callable[[], float] = time.time,
    token_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> AsyncIterator[Gateway]:
    """Start everything, in the order in which it is needed; stop it in reverse.

    Starts with the node away (new challenges are then 503). Raises ``OutageError`` where the database cannot be used,
    ``OSError`` where a port is taken.
    """
    require_safe_runtime()
    async with AsyncExitStack() as stack:
        stack.callback(log.flush)
        store = await _opened_store(settings, log, clock, stack)
        node = await _started_node(settings, log, clock, stack)
        caches = Caches()
        settlements = Settlements(store, node, clock, on_settled=log.settled)
        stack.push_async_callback(settlements.aclose)
        feed = RevocationFeed(store, caches)
        await feed.start()
        watcher = SettlementWatcher(store, node, settlements, log, clock)
        await stack.enter_async_context(_workers(log, watcher.run, feed.run))
        settings = await _with_demo(settings, stack)
        forwarder = Forwarder()
        stack.push_async_callback(forwarder.aclose)
        drain = Drain()
        minter = Minter(store, node, invoice_expiry_s=settings.invoice_expiry_s, clock=clock, token_bytes=token_bytes)
        flow = RequestFlow(
            settings=settings,
            table=RouteTable(settings.routes),
            admission=Admission(store, settlements, caches, strict=settings.strict, clock=clock),
            minter=minter,
            node=node,
            forwarder=forwarder,
            leaving=drain,
            log=log,
        )
        listener, accepting = await _listening(flow, settings, stack)
        yield Gateway(settings, bound_address(accepting), node, store, listener, accepting, drain, forwarder)


async def _opened_store(
    settings: Settings, log: RequestLog, clock: Callable[[], float], stack: AsyncExitStack
) -> Store:
    store = await open_store(settings.storage_url, clock=clock)
    stack.push_async_callback(store.aclose)
    for warning in store.warnings:
        log.warning("database", detail=warning)
    return store


async def _started_node(
    settings: Settings, log: RequestLog, clock: Callable[[], float], stack: AsyncExitStack
) -> LightningBackend:
    node = build_node(settings.lightning, clock)
    stack.push_async_callback(node.aclose)
    await node.start()
    if node.play_money:
        log.warning("play money", node=node.name, network=node.network, detail="nobody is paid in real bitcoin")
    return node


def _listener(flow: RequestFlow) -> Listener:
    """With the fast path where that is switched on and fits the installed aiohttp."""
    if not flow.settings.fast_path:
        return Listener(flow)
    if not fast_path_fits():
        flow.log.warning("fast path", detail=f"off: it was not tested with aiohttp {aiohttp.__version__}")
        return Listener(flow)
    return FastListener(flow, PlainRequests(flow))


async def _with_demo(settings: Settings, stack: AsyncExitStack) -> Settings:
    """The settings, with ``upstream: demo`` pointing at a sample API that was started for it."""
    if not settings.uses_demo_upstream:
        return settings
    demo = DemoUpstream()
    await demo.start()
    stack.push_async_callback(demo.aclose)
    return settings.with_demo_upstream(demo.address[1])


async def _listening(flow: RequestFlow, settings: Settings, stack: AsyncExitStack) -> tuple[Listener, asyncio.Server]:
    listener = _listener(flow)
    accepting = await listen(listener, *settings.listen)
    stack.push_async_callback(listener.shutdown, 1.0)
    stack.callback(accepting.close)
    return listener, accepting


@asynccontextmanager
async def _workers(log: RequestLog, *jobs: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run background jobs for as long as the block lasts."""
    tasks = [asyncio.create_task(_restarting(log, job)) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def _restarting(log: RequestLog, job: Callable[[], Awaitable[None]]) -> None:
    """Serving goes on when a background job breaks: it is reported and started again."""
    while True:
        try:
            await job()
        except OutageError as error:
            log.warning("background", kind=type(error).__name__, detail=str(error))
        except Exception as error:  # noqa: BLE001 - a bug in a job must not end the paid service
            log.warning("background job failed", kind=type(error).__name__, detail=_told(error))
        await asyncio.sleep(WORKER_RESTART_S)


def _told(error: BaseException) -> str:
    """What went wrong and where; of a task group, each of its errors."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_told(one) for one in error.exceptions)
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in place)
    return f"{type(error).__name__}: {error}{where}"
