"""A small API to sell while trying the gateway: ``upstream: demo`` in a configuration starts it on a loopback port."""

from __future__ import annotations

import datetime

from aiohttp import web

QUOTES = (
    "The root problem with conventional currency is all the trust that is required to make it work.",
    "Running bitcoin.",
    "A purely peer-to-peer version of electronic cash.",
)


async def _weather(request: web.Request) -> web.Response:
    place = request.query.get("place", "Prague")[:64]
    return web.json_response({"place": place, "sky": "clear", "celsius": 21, "path": request.path})


async def _status(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "time": datetime.datetime.now(datetime.UTC).isoformat()})


async def _quote(request: web.Request) -> web.Response:
    return web.json_response({"quote": QUOTES[len(request.path) % len(QUOTES)]})


async def _echo(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": request.content_type})
    await answer.prepare(request)
    async for chunk in request.content.iter_any():
        await answer.write(chunk)
    await answer.write_eof()
    return answer


async def _hello(request: web.Request) -> web.Response:
    seen = {name: value for name, value in request.headers.items() if name.lower().startswith(("x-l402-", "x-forw"))}
    return web.json_response({"hello": "this is the demo upstream", "told_by_the_gateway": seen})


def demo_application() -> web.Application:
    """The sample API: weather, quotes, an echo, and a greeting that shows what the gateway told it."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_get("/weather/status", _status)
    app.router.add_route("*", "/weather", _weather)
    app.router.add_route("*", "/weather/{rest:.*}", _weather)
    app.router.add_get("/quotes/{rest:.*}", _quote)
    app.router.add_route("*", "/echo", _echo)
    app.router.add_get("/", _hello)
    app.router.add_get("/hello", _hello)
    return app


class DemoUpstream:
    """The sample API on a port of its own. ``address`` is known after ``start``."""

    def __init__(self) -> None:
        self._runner = web.AppRunner(demo_application(), access_log=None)
        self.address: tuple[str, int] = ("", 0)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes any free one."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound = self._runner.addresses[0]
        self.address = (str(bound[0]), int(bound[1]))

    async def aclose(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()
