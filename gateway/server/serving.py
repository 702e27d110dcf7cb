"""Run a gateway in the foreground: say what matters, stop on SIGTERM without failing a request."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence

from gateway.config.addresses import reachable
from gateway.config.settings import Settings
from gateway.l402.amounts import format_amount
from gateway.lightning.settings import SIMULATED_ENDPOINT
from gateway.paywall.terms import DEFAULT_ROUTE
from gateway.pricing.price import FREE
from gateway.proxy.hosts import with_port
from gateway.proxy.services import Route
from gateway.server.app import IDLE_CONNECTIONS_S, Gateway, running_gateway
from gateway.server.logs import RequestLog
from gateway.storage.location import parse_location

DRAIN_TIMEOUT_S = 30.0

Say = Callable[[str], None]


async def serve(settings: Settings, log: RequestLog, say: Say, *, command: str = "gateway") -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends at once."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.put_nowait, number)
    async with running_gateway(settings, log) as gateway:
        async for line in _banner(gateway, command):
            say(line)
        first = await stop.get()
        say("stopping: requests in flight are being finished (a second signal stops at once)")
        idle_s = IDLE_CONNECTIONS_S if first is signal.SIGTERM else 0.0
        draining = asyncio.create_task(gateway.drain(DRAIN_TIMEOUT_S, idle_s=idle_s))
        impatient = asyncio.create_task(stop.get())
        await asyncio.wait({draining, impatient}, return_when=asyncio.FIRST_COMPLETED)
        impatient.cancel()
        draining.cancel()
        await asyncio.gather(draining, impatient, return_exceptions=True)
    say("stopped")


async def _banner(gateway: Gateway, command: str) -> AsyncIterator[str]:
    """What to tell at the start; the address first, because a node that is away takes seconds to say so."""
    settings, base = gateway.settings, base_url(gateway.address)
    yield f"listening on {base}"
    endpoint = getattr(gateway.node, "endpoint", None)
    if endpoint:
        yield f"simulated node on {endpoint} (play money: nobody is paid)"
    else:
        health = await gateway.node.health()
        yield f"{gateway.node.name} on {gateway.node.network}: {health.detail}"
        for warning in health.warnings:
            yield f"warning: {warning}"
    yield f"tokens are kept in {parse_location(settings.storage_url)}"
    for problem in settings.warnings:
        yield f"warning: {problem}"
    for line in _price_list(settings.routes):
        yield line
    trial = _first_priced(settings.routes)
    if endpoint and trial:
        for line in ["", "try it:", *trial_lines(trial, base, endpoint, command)]:
            yield line


def _price_list(routes: Sequence[Route]) -> list[str]:
    places = [f"{route.pattern.host or ''}{route.pattern.path}" for route in routes]
    prices = [FREE if route.terms.free else format_amount(route.terms.price_msat) for route in routes]
    service_width, place_width = max(len(route.terms.service) for route in routes), max(map(len, places))
    return [
        f"  {route.terms.service:<{service_width}}  {place:<{place_width}}  {price}"
        for route, place, price in zip(routes, places, prices, strict=True)
    ]


def base_url(address: tuple[str, int]) -> str:
    """The URL of a listening address, as this machine reaches it."""
    return f"http://{with_port(reachable(address[0]), address[1])}"


def trial_lines(route: Route, base: str, node_url: str, command: str) -> list[str]:
    """Three shell lines: get a 402, pay it, get a 200."""
    path = route.pattern.path.replace("/**", "/").replace("*", "x")
    host = f" -H 'Host: {route.pattern.host.replace('*', 'www')}'" if route.pattern.host else ""
    url = f"{base}{path}"
    node = "" if node_url == f"http://{SIMULATED_ENDPOINT}" else f" --node {node_url}"
    return [
        f"  curl -si{host} {url} | tee challenge.txt",
        f"  {command} sim pay{node} --authorization - < challenge.txt > paid.txt",
        f"  curl -i{host} -H @paid.txt {url}",
    ]


def _first_priced(routes: tuple[Route, ...]) -> Route | None:
    def admits_get(route: Route) -> bool:
        return not route.pattern.methods or "GET" in route.pattern.methods

    plain = [route for route in routes if not route.terms.free and admits_get(route)]
    # A service's default row is the plainest thing to try.
    return next((route for route in plain if route.terms.route == DEFAULT_ROUTE), plain[0] if plain else None)
