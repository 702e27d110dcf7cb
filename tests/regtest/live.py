"""The regtest network as async tests use it: nothing blocks the loop that the gateway under test runs on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.lightning.settings import FromFile, LndSettings, Material
from tests.regtest.network import Network, Node, alive


class LiveNode:
    """alice or bob. ``grpc`` is host:port; certificate and macaroons are files."""

    def __init__(self, node: Node, network: Network) -> None:
        self._node, self._network = node, network
        self.grpc = node.grpc
        self.tls_cert: Path = node.tls_cert
        self.admin_macaroon: Path = node.admin_macaroon
        self.invoice_macaroon: Path = node.invoice_macaroon
        self.gateway_macaroon: Path = node.gateway_macaroon
        """alice: invoices read and write, info read. bob: offchain read and write, info read."""

    @property
    def pid(self) -> int:
        return self._node.pid

    def settings(
        self,
        *,
        macaroon: Material | None = None,
        tls_cert: Material | None = None,
        address: str | None = None,
        network: str = "regtest",
        rpc_timeout_s: float = 5.0,
    ) -> LndSettings:
        """Settings that fit this node, unless told otherwise."""
        return LndSettings(
            network=network,
            address=address or self.grpc,
            tls_cert=tls_cert or FromFile(self.tls_cert),
            macaroon=macaroon or FromFile(self.gateway_macaroon),
            rpc_timeout_s=rpc_timeout_s,
        )

    async def pay(self, bolt11: str) -> bytes:
        """Pay from this node, when its channel is up, and give the preimage. Raises ``NotPaid``."""
        await self.link()
        return await asyncio.to_thread(self._node.pay, bolt11)

    async def bake(self, *rights: str) -> bytes:
        """A macaroon with these rights, such as ``invoices:read``."""
        return await asyncio.to_thread(self._node.bake, *rights)

    async def link(self) -> None:
        """Wait until payments can flow."""
        await asyncio.to_thread(self._network.link)

    async def start(self) -> None:
        """Start it, and wait until it takes calls (not until its channel is up: `pay` does that)."""
        await asyncio.to_thread(self._node.start)

    async def spawn(self) -> None:
        """Start it without waiting."""
        await asyncio.to_thread(self._node.spawn)

    async def stop(self) -> None:
        """End it in order."""
        await asyncio.to_thread(self._node.stop)

    async def kill(self) -> None:
        """kill -9."""
        await asyncio.to_thread(self._node.kill)

    async def freeze(self) -> None:
        """It stays there and answers nothing, from when this returns."""
        await asyncio.to_thread(self._node.freeze)

    async def thaw(self) -> None:
        """Go on."""
        self._node.thaw()

    def recover(self) -> None:
        """Whatever a test did to it: running and awake. Blocks."""
        if alive(self._node.pid):
            self._node.thaw()
        else:
            self._node.start()


class LiveNetwork:
    """``alice`` sells, ``bob`` buys; ``folder`` holds all that they wrote."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.folder = network.folder
        self.alice = LiveNode(network.alice, network)
        self.bob = LiveNode(network.bob, network)
