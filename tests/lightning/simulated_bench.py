"""A simulated node on a clock that only tests move."""

from __future__ import annotations

from pathlib import Path

from gateway.errors import PaymentFailed
from gateway.lightning.settings import SimulatedSettings
from gateway.lightning.simulated import Receipt, SimulatedNode


class Clock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.25

    def __call__(self) -> float:
        return self.time


class SimulatedBench:
    def __init__(self, data: Path, network: str = "regtest") -> None:
        self.clock = Clock()
        self.settings = SimulatedSettings(network=network, listen=("127.0.0.1", 0), data=data)
        self.backend = SimulatedNode(self.settings, clock=self.clock)

    def now(self) -> int:
        return int(self.clock())

    async def pay(self, invoice: str) -> bytes:
        outcome = await self.backend.pay(invoice)
        if not isinstance(outcome, Receipt):
            raise PaymentFailed(outcome)
        return outcome.preimage

    async def restart(self) -> None:
        await self.backend.aclose()
        self.backend = SimulatedNode(self.settings, clock=self.clock)
        await self.backend.start()

    async def pass_time(self, seconds: float) -> None:
        self.clock.time += seconds
