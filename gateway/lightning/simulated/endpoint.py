"""The simulated node's loopback HTTP endpoint: where its invoices are paid.

::

    GET  /        {"node": "simulated", "play_money": true, …}
    POST /pay     {"invoice": "lnbcrt…"} -> {"preimage": hex, "payment_hash": hex, "amount_msat": n}
    POST /faults  the whole set of switches (what is not named is off) -> the set in force

Errors are ``{"code": …, "message": …}``; codes are stable. A page in a browser on this machine must not be able to pay
or to throw switches: POST takes ``application/json`` only (a cross-site form cannot send it without a preflight, which
is never granted), ``Host`` must be loopback (against DNS rebinding), and a request with ``Origin`` is refused.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Protocol

from aiohttp import web

from gateway.errors import NodeNotReady, NodeUnreachable, OutageError
from gateway.lightning.simulated.faults import Faults
from gateway.lightning.simulated.payment import Receipt, Refusal

MAX_BODY_BYTES = 16_384
READ_TIMEOUT_S = 5.0

_LOOPBACK_HOST = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
_REFUSALS = {
    Refusal.NOT_AN_INVOICE: (422, "this is not a BOLT 11 invoice"),
    Refusal.UNKNOWN_INVOICE: (404, "this node has not issued the invoice; it pays no other node's"),
    Refusal.EXPIRED: (410, "the invoice has expired"),
    Refusal.WITHHELD: (502, "the invoice is paid, but its preimage is withheld (fault: withhold_preimage)"),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PayingNode(Protocol):
    """What the endpoint asks of its node."""

    network: str

    @property
    def faults(self) -> Faults:
        """The switches in force."""

    @faults.setter
    def faults(self, faults: Faults) -> None: ...

    @property
    def node_id(self) -> bytes:
        """The node's public key."""

    async def pay(self, invoice: str) -> Receipt | Refusal:
        """Pay an invoice of the node."""


class Endpoint:
    """The HTTP server; ``port`` 0 takes any free one."""

    def __init__(self, node: PayingNode, host: str, port: int) -> None:
        self._node = node
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end. Raises ``NodeUnreachable`` while not listening."""
        if self._runner is None:
            raise NodeUnreachable("the simulated node's endpoint is not open")
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen. Raises ``NodeNotReady`` when the address is taken or cannot be used."""
        app = web.Application(middlewares=[_guard], client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/", self._describe, allow_head=False)
        app.router.add_post("/pay", self._pay)
        app.router.add_post("/faults", self._set_faults)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise NodeNotReady(
                f"the simulated node cannot listen on {self._host}:{self._port} ({error.strerror}):"
                " another gateway may hold it; give this one another address"
            ) from error
        self._runner = runner

    async def aclose(self) -> None:
        """Stop listening; idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _describe(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "node": "simulated",
                "play_money": True,
                "message": "A simulated Lightning node: its invoices cost play money, and nobody is paid.",
                "network": self._node.network,
                "node_id": self._node.node_id.hex(),
            }
        )

    async def _pay(self, request: web.Request) -> web.Response:
        body = await _read_json(request)
        invoice = body.get("invoice") if isinstance(body, dict) else None
        if not isinstance(invoice, str):
            return _problem(400, "bad_request", 'expected {"invoice": "lnbcrt…"}')
        outcome = await self._node.pay(invoice.strip())
        if isinstance(outcome, Refusal):
            status, message = _REFUSALS[outcome]
            return _problem(status, outcome.value, message)
        return web.json_response(
            {
                "preimage": outcome.preimage.hex(),
                "payment_hash": outcome.payment_hash.hex(),
                "amount_msat": outcome.amount_msat,
            }
        )

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            self._node.faults = Faults.from_json(await _read_json(request))
        except ValueError as error:
            return _problem(422, "bad_faults", str(error))
        return web.json_response(asdict(self._node.faults))


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    refusal = _browser_refusal(request)
    if refusal is not None:
        return refusal
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _problem(error.status, _HTTP_CODES.get(error.status, "bad_request"), error.reason)
    except OutageError as error:
        return _problem(503, "node_unavailable", str(error))


def _browser_refusal(request: web.Request) -> web.Response | None:
    if _LOOPBACK_HOST.fullmatch(request.headers.get("Host", "")) is None:
        return _problem(421, "not_loopback", "Host must be a loopback address or localhost")
    if "Origin" in request.headers:
        return _problem(403, "origin_refused", "web pages may not use this endpoint")
    if request.method == "POST" and request.content_type != "application/json":
        return _problem(415, "not_json", "send Content-Type: application/json")
    return None


async def _read_json(request: web.Request) -> object:
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return json.loads(await request.read())
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest from None


_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
"""Python's own phrases for these statuses differ between its versions; a code does not."""


def _problem(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"code": code, "message": message}, status=status)
