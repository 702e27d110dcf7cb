"""What a real lnd answers when something is wrong, and what becomes of it."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import (
    GatewayError,
    NodeNotReady,
    NodeRefusedCredentials,
    NodeRefusedRequest,
    NodeUnreachable,
    OutageError,
    UnknownInvoice,
)
from gateway.l402.amounts import MAX_MSAT, Msat
from gateway.lightning.backend import NewInvoice
from gateway.lightning.lnd import LndBackend
from gateway.lightning.settings import FromFile, Inline, LndSettings, Material
from tests.regtest import network as kit
from tests.regtest.live import LiveNetwork, LiveNode

Connect = Callable[[LndSettings], LndBackend]
WANTED = NewInvoice(amount_msat=Msat(5_000), expiry_s=600, memo="weather")


async def _error(backend: LndBackend, wanted: NewInvoice = WANTED) -> GatewayError | None:
    try:
        await backend.create_invoice(wanted)
    except GatewayError as error:
        return error
    return None


async def _until(backend: LndBackend, error: type[GatewayError] | None, seconds: float = 60) -> set[type]:
    """Ask until this is the outcome; gives all outcomes on the way."""
    seen: set[type] = set()
    async with asyncio.timeout(seconds):
        while type(outcome := await _error(backend)) is not (error or type(None)):
            seen.add(type(outcome))
            await asyncio.sleep(0.02)
    return seen


async def _median_time_refused(backend: LndBackend) -> float:
    """Seconds until a call is refused because there is no node; a busy machine may be slow now and then."""
    times: list[float] = []
    for _ in range(11):
        started = time.monotonic()
        assert type(await _error(backend)) is NodeUnreachable
        times.append(time.monotonic() - started)
    return statistics.median(times)


async def _foreign_macaroon(network: LiveNetwork) -> Material:
    return FromFile(network.bob.admin_macaroon)


async def _garbage(_: LiveNetwork) -> Material:
    return Inline(b"garbage")


async def _cut_short(network: LiveNetwork) -> Material:
    return Inline(network.alice.gateway_macaroon.read_bytes()[:-20])


async def _tampered(network: LiveNetwork) -> Material:
    whole = network.alice.gateway_macaroon.read_bytes()
    return Inline(whole.replace(b"read", b"rEad"))


async def _without_the_right(network: LiveNetwork) -> Material:
    return Inline(await network.alice.bake("invoices:read"))


async def _expired(network: LiveNetwork) -> Material:
    baked = await network.alice.bake("--timeout=1", "invoices:read", "invoices:write")
    await asyncio.sleep(1.2)
    return Inline(baked)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_foreign_macaroon, "not one of this node's"),
        (_tampered, "not one of this node's"),
        (_garbage, "cannot be read"),
        (_cut_short, "cannot be read"),
        (_without_the_right, "lacks a right"),
        (_expired, "expired"),
    ],
)
async def test_a_macaroon_that_does_not_open_is_credentials_refused(
    make: Callable[[LiveNetwork], Any], words: str, network: LiveNetwork, connect: Connect
) -> None:
    error = await _error(connect(network.alice.settings(macaroon=await make(network))))
    assert type(error) is NodeRefusedCredentials
    assert words in str(error)


async def test_without_any_macaroon_credentials_are_refused(network: LiveNetwork) -> None:
    """`Material` is never empty, so that this asks below the backend."""
    import grpc

    from gateway.lightning.lnd.outcomes import border
    from gateway.lightning.lnd.rpc import lightning_pb2 as lnrpc

    credentials = grpc.ssl_channel_credentials(network.alice.tls_cert.read_bytes())
    async with grpc.aio.secure_channel(network.alice.grpc, credentials) as channel:
        add: grpc.aio.UnaryUnaryMultiCallable[lnrpc.Invoice, bytes] = channel.unary_unary(
            "/lnrpc.Lightning/AddInvoice", request_serializer=lnrpc.Invoice.SerializeToString
        )
        with pytest.raises(NodeRefusedCredentials, match="wants a macaroon"), border():
            await add(lnrpc.Invoice(value_msat=1000), timeout=5)


async def test_the_certificate_of_another_node_is_refused(network: LiveNetwork, connect: Connect) -> None:
    backend = connect(network.alice.settings(tls_cert=FromFile(network.bob.tls_cert)))
    error = await _error(backend)
    assert type(error) is NodeRefusedCredentials
    assert "certificate" in str(error)
    assert not (await backend.health()).ready


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (NewInvoice(MAX_MSAT, 600, ""), "too large"),  # type: ignore[arg-type]
        (NewInvoice(Msat(1000), 600, "x" * 640), "too big"),
    ],
    ids=["amount too large", "memo too long"],
)
async def test_what_lnd_will_not_do_is_a_refused_request(
    wanted: NewInvoice, words: str, network: LiveNetwork, connect: Connect
) -> None:
    error = await _error(connect(network.alice.settings()), wanted)
    assert type(error) is NodeRefusedRequest
    assert words in str(error)


async def test_hashes_that_lnd_does_not_know_or_take(network: LiveNetwork, connect: Connect) -> None:
    backend = connect(network.alice.settings())
    with pytest.raises(UnknownInvoice):
        await backend.lookup(bytes(32))
    with pytest.raises(NodeRefusedRequest, match="exactly 32 bytes"):
        await backend.lookup(bytes(31))


async def test_a_killed_node_is_refused_fast_and_found_again(network: LiveNetwork, connect: Connect) -> None:
    backend = connect(network.alice.settings())
    assert await _error(backend) is None
    watch = asyncio.ensure_future(anext(backend.watch(0)))
    await asyncio.sleep(0.2)
    await network.alice.kill()
    async with asyncio.timeout(5):
        with pytest.raises(NodeUnreachable):
            await watch
    assert await _median_time_refused(backend) < 0.1
    assert not (await backend.health()).ready
    await network.alice.spawn()
    assert await _answers_of_a_starting_node(network, connect) == {NodeUnreachable, NodeNotReady}
    assert await _until(backend, None) <= {NodeUnreachable, NodeNotReady}
    async with asyncio.timeout(60):
        while not (await backend.health()).ready:  # it takes calls a little before it has the whole chain
            await asyncio.sleep(0.05)


async def _answers_of_a_starting_node(network: LiveNetwork, connect: Connect) -> set[type]:
    """Each asked by a backend with a breaker of its own, so that every answer is the node's."""
    seen: set[type] = set()
    async with asyncio.timeout(60):
        while (error := await _error(backend := connect(network.alice.settings()))) is not None:
            seen.add(type(error))
            await backend.aclose()
    return seen


async def test_a_frozen_node_costs_no_more_than_the_deadline(network: LiveNetwork, connect: Connect) -> None:
    backend = connect(network.alice.settings(rpc_timeout_s=0.5))
    assert await _error(backend) is None
    await network.alice.freeze()
    for _ in range(2):
        started = time.monotonic()
        assert type(await _error(backend)) is NodeUnreachable
        assert 0.4 < time.monotonic() - started < 3
    assert await _median_time_refused(backend) < 0.1
    await network.alice.thaw()
    await _until(backend, None)


async def test_the_settlement_stream_of_a_frozen_node_ends(network: LiveNetwork, connect: Connect) -> None:
    backend = connect(network.alice.settings())
    assert await _error(backend) is None
    watch = asyncio.ensure_future(anext(backend.watch(0)))
    await asyncio.sleep(0.2)
    await network.alice.freeze()
    async with asyncio.timeout(30):
        with pytest.raises(NodeUnreachable):
            await watch


async def test_an_admin_macaroon_works_and_earns_a_warning(network: LiveNetwork, connect: Connect) -> None:
    backend = connect(network.alice.settings(macaroon=FromFile(network.alice.admin_macaroon)))
    await network.alice.link()
    assert await _error(backend) is None
    health = await backend.health()
    assert health.ready
    (warning,) = health.warnings
    assert "offchain:write" in warning
    assert "onchain:write" in warning


@pytest.mark.parametrize(
    "rights", [("invoices:read", "invoices:write"), ("invoices:read", "invoices:write", "info:read")]
)
async def test_the_fewest_rights_earn_none(rights: tuple[str, ...], network: LiveNetwork, connect: Connect) -> None:
    backend = connect(network.alice.settings(macaroon=Inline(await network.alice.bake(*rights))))
    await network.alice.link()
    health = await backend.health()
    assert (health.ready, health.warnings) == (True, ()), health.detail


async def test_rights_for_single_methods_are_enough_too(network: LiveNetwork, connect: Connect) -> None:
    methods = ("AddInvoice", "LookupInvoice", "SubscribeInvoices", "ListInvoices")
    macaroon = await network.alice.bake(*(f"uri:/lnrpc.Lightning/{method}" for method in methods))
    backend = connect(network.alice.settings(macaroon=Inline(macaroon)))
    assert await _error(backend) is None
    health = await backend.health()
    assert (health.ready, health.warnings) == (True, ()), health.detail


@pytest.mark.parametrize("rights", [("invoices:read", "invoices:write"), ("info:read", "invoices:read")])
async def test_a_node_on_another_network_than_configured_is_not_ready(
    rights: tuple[str, ...], network: LiveNetwork, connect: Connect
) -> None:
    assert await _error(connect(network.alice.settings())) is None
    macaroon = Inline(await network.alice.bake(*rights))
    health = await connect(network.alice.settings(network="mainnet", macaroon=macaroon)).health()
    assert (health.ready, health.detail) == (False, "the node is on regtest, the configuration says mainnet")


async def test_a_new_certificate_of_the_node_is_picked_up(network: LiveNetwork, connect: Connect) -> None:
    backend = connect(network.alice.settings())
    assert await _error(backend) is None
    before = network.alice.tls_cert.read_bytes()
    await network.alice.stop()
    network.alice.tls_cert.unlink()
    network.alice.tls_cert.with_name("tls.key").unlink()
    await network.alice.start()
    assert network.alice.tls_cert.read_bytes() != before
    await _until(backend, None)


# A node with a wallet of its own password, as in production


class Locked:
    """A third node. Its wallet is made over REST, as `lncli create` would with a person at the keyboard."""

    password = base64.b64encode(b"correct horse").decode()

    def __init__(self, node: kit.Node) -> None:
        self.node = node

    async def call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return await asyncio.to_thread(self._call, path, body)

    def _call(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        request = urllib.request.Request(f"https://{self.node.description['rest']}{path}")
        if body is not None:
            request.data = json.dumps(body).encode()
        context = ssl.create_default_context(cafile=str(self.node.tls_cert))
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    async def spawn(self) -> None:
        """Start it, and wait until it waits for its wallet."""
        await asyncio.to_thread(self.node.spawn)
        await asyncio.to_thread(kit.wait_for, self.node.name, self._waits_for_its_wallet, 60)

    def _waits_for_its_wallet(self) -> bool:
        return self._call("/v1/state", None)["state"] in {"NON_EXISTING", "LOCKED"}


@pytest.fixture
async def locked(network: LiveNetwork, binaries: Path, tmp_path: Path) -> AsyncIterator[Locked]:
    chain = kit.Chain.__new__(kit.Chain)
    chain.folder = network.folder / "btcd"
    chain.rpc = int(network.network.chain["rpc"].rpartition(":")[2])
    carol = kit.Node.create("carol", binaries, tmp_path, chain, wallet=False)
    yield Locked(carol)
    await asyncio.to_thread(carol.kill)


async def test_a_locked_wallet_is_not_ready_until_it_is_unlocked(
    locked: Locked, network: LiveNetwork, connect: Connect
) -> None:
    await locked.spawn()
    carol = LiveNode(locked.node, network.network)
    admin = FromFile(network.alice.admin_macaroon)  # carol has none yet; the lock comes first
    error = await _error(connect(carol.settings(macaroon=admin)))
    assert (type(error), str(error)) == (NodeNotReady, "the node's wallet is locked")

    seed = (await locked.call("/v1/genseed"))["cipher_seed_mnemonic"]
    await locked.call("/v1/initwallet", {"wallet_password": locked.password, "cipher_seed_mnemonic": seed})
    await asyncio.to_thread(kit.wait_for, "carol", carol.admin_macaroon.exists, 60)
    await asyncio.to_thread(locked.node.kill)

    await locked.spawn()
    backend = connect(carol.settings(macaroon=FromFile(carol.admin_macaroon)))
    error = await _error(backend)
    assert (type(error), str(error)) == (NodeNotReady, "the node's wallet is locked")
    assert (await backend.health()).detail == "the node's wallet is locked"
    await locked.call("/v1/unlockwallet", {"wallet_password": locked.password})
    assert await _until(backend, None) <= {NodeNotReady, NodeUnreachable}


async def test_errors_repeat_no_macaroon(network: LiveNetwork, connect: Connect) -> None:
    for make in (_foreign_macaroon, _garbage, _cut_short, _without_the_right):
        material = await make(network)
        secret = material.value if isinstance(material, Inline) else material.path.read_bytes()
        with pytest.raises(OutageError) as raised:
            await connect(network.alice.settings(macaroon=material)).create_invoice(WANTED)
        assert secret.hex() not in repr(raised.value)
        assert secret.decode(errors="replace") not in str(raised.value)
