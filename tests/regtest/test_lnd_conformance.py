"""A real lnd keeps the promises that every backend makes, and two rights are enough for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from gateway.l402.amounts import Msat
from gateway.lightning.backend import LightningBackend
from gateway.lightning.lnd import LndBackend, LndPayer
from gateway.lightning.settings import Inline
from tests.lightning.conformance import BackendConformance
from tests.regtest.live import LiveNetwork


class LndBench:
    """alice behind an ``LndBackend`` with the fewest rights, bob as the wallet."""

    def __init__(self, network: LiveNetwork, wallet: LndPayer) -> None:
        self._network, self._wallet = network, wallet
        self._backend: LndBackend | None = None

    async def open(self) -> None:
        macaroon = Inline(await self._network.alice.bake("invoices:read", "invoices:write"))
        self._backend = LndBackend(self._network.alice.settings(macaroon=macaroon), clock=time.time)
        await self._backend.start()

    @property
    def backend(self) -> LightningBackend:
        assert self._backend is not None
        return self._backend

    def now(self) -> int:
        return int(time.time())

    async def pay(self, invoice: str) -> bytes:
        return (await self._wallet.pay(invoice, max_fee_msat=Msat(0), timeout_s=20)).preimage

    async def restart(self) -> None:
        await self.backend.aclose()
        await self._network.alice.stop()
        await self._network.alice.start()
        await self._network.alice.link()
        await self.open()

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class TestLnd(BackendConformance):
    @pytest.fixture
    async def node(self, network: LiveNetwork, wallet: LndPayer) -> AsyncIterator[LndBench]:
        bench = LndBench(network, wallet)
        await bench.open()
        yield bench
        await bench.backend.aclose()
