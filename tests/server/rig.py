"""A whole gateway in this process on real sockets: simulated node, SQLite file, an upstream that records."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from gateway.config import load_settings
from gateway.l402.identifier import token_key
from gateway.l402.macaroon import decode_macaroon
from gateway.l402.tokens import decode_token
from gateway.lightning.simulated import SimulatedNode
from gateway.server.app import Gateway, running_gateway
from gateway.server.logs import configure_logging

SERVICES = """
  - name: weather
    match: {path: /weather/**}
    upstream: UPSTREAM
    price: 1500 msat
    valid_for: 1h
    routes:
      - {name: history, match: {path: /weather/history/**}, price: 20 sat}
      - {match: {path: /weather/status}, price: free}
  - name: archive
    match: {path: /archive/**}
    upstream: UPSTREAM
    price: 3 sat
    capabilities: [read, write]
    routes:
      - {name: edit, match: {path: /archive/edit}, price: 3 sat, capability: write}
  - name: open
    match: {path: /open/**}
    upstream: UPSTREAM
    price: 5 sat
    auth: optional
"""


def key_of(macaroon: str) -> bytes:
    """Where the root key of a token is kept."""
    return token_key(decode_macaroon(decode_token(macaroon)).identifier)


@dataclass(slots=True)
class Clock:
    """A wall clock that tests move."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Upstream:
    """Records each request; answers 200 with a small JSON body."""

    url: str = ""
    seen: list[tuple[str, str, list[tuple[str, str]], bytes]] = field(default_factory=list)
    answer_headers: dict[str, str] = field(default_factory=dict)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
        self.seen.append((request.method, request.raw_path, headers, body))
        return web.json_response({"path": request.raw_path, "length": len(body)}, headers=self.answer_headers)

    def header(self, name: str) -> str | None:
        """A header of the last request seen."""
        return next((value for key, value in self.seen[-1][2] if key.lower() == name.lower()), None)


@dataclass(slots=True)
class Purchase:
    """What a 402 offered."""

    macaroon: str
    invoice: str
    body: dict[str, Any]
    header: str


@dataclass(slots=True)
class Rig:
    """Everything a test touches."""

    gateway: Gateway
    node: SimulatedNode
    upstream: Upstream
    session: aiohttp.ClientSession
    base: str
    clock: Callable[[], float]
    log: io.StringIO
    config: Path
    preimages: list[str] = field(default_factory=list)
    macaroons: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    watch_for_leaks: bool = True
    """Off in a test that hands a secret to the upstream on purpose."""

    def _url(self, path: str) -> URL:
        return URL(self.base + path, encoded=True)  # sent as written

    async def get(self, path: str, *, method: str = "GET", **options: Any) -> tuple[int, dict[str, str], bytes]:
        async with self.session.request(method, self._url(path), allow_redirects=False, **options) as answer:
            body = await answer.read()
            self.answers.append(f"{answer.raw_headers!r} {body!r}")
            return answer.status, dict(answer.headers), body

    async def challenge(self, path: str, *, method: str = "GET", **options: Any) -> Purchase:
        async with self.session.request(method, self._url(path), **options) as answer:
            body = await answer.json()
            assert answer.status == 402, body
            lines = answer.headers.getall("WWW-Authenticate")
            assert len(lines) == 1
        match = re.fullmatch(r'L402 macaroon="([^"]+)", invoice="([^"]+)", version="0", token="([^"]+)"', lines[0])
        assert match is not None, lines
        assert match[1] == match[3] == body["macaroon"]
        assert match[2] == body["invoice"]
        self.macaroons.append(match[1])
        return Purchase(match[1], match[2], body, lines[0])

    async def pay(self, invoice: str) -> str:
        """The preimage in hex."""
        async with self.session.post(f"{self.node.endpoint}/pay", json={"invoice": invoice}) as answer:
            body = await answer.json()
            assert answer.status == 200, body
            self.preimages.append(str(body["preimage"]))
            return self.preimages[-1]

    def assert_nothing_leaked(self) -> None:
        """No preimage in any log line, answer or upstream request of this test; no macaroon in log or upstream."""
        seen = f"{self.log.getvalue()} {self.upstream.seen!r}"
        assert not [secret for secret in self.macaroons + self.preimages if secret in seen]
        assert not [secret for secret in self.preimages if any(secret in answer for answer in self.answers)]

    async def buy(self, path: str) -> str:
        """The value of an Authorization header that paid for ``path``."""
        offer = await self.challenge(path)
        return f"L402 {offer.macaroon}:{await self.pay(offer.invoice)}"


@asynccontextmanager
async def running_upstream(upstream: Upstream) -> AsyncIterator[None]:
    runner = web.ServerRunner(web.Server(upstream.handle, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    upstream.url = f"http://{host}:{port}"
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_rig(
    folder: Path,
    *,
    services: str = SERVICES,
    top: str = "",
    lightning: str = "",
    clock: Callable[[], float] | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Rig]:
    """Start upstream and gateway from a configuration file in ``folder``; stop both."""
    upstream = Upstream()
    clock = Clock() if clock is None else clock
    stream = io.StringIO()
    log = configure_logging(people=False, stream=stream)
    async with running_upstream(upstream):
        config = folder / "gateway.yaml"
        config.write_text(
            f"listen: 127.0.0.1:0\nlightning: {{backend: simulated, listen: '127.0.0.1:0'{lightning}}}\n{top}\n"
            f"services:{services.replace('UPSTREAM', upstream.url)}"
        )
        settings = load_settings(config, env or {})
        async with (
            running_gateway(settings, log, clock=clock) as gateway,
            aiohttp.ClientSession(auto_decompress=False) as session,
        ):
            base = f"http://127.0.0.1:{gateway.address[1]}"
            assert isinstance(gateway.node, SimulatedNode)
            rig = Rig(gateway, gateway.node, upstream, session, base, clock, stream, config)
            yield rig
            if rig.watch_for_leaks:
                rig.assert_nothing_leaked()
