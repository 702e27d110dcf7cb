"""No settlement is missed: over restarts of the node, over kill -9, and paid while nobody was watching."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from gateway.errors import OutageError
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import InvoiceStatus, IssuedInvoice, NewInvoice
from gateway.lightning.lnd import LndBackend, LndPayer
from gateway.lightning.settings import LndSettings
from tests.regtest.live import LiveNetwork, LiveNode

Connect = Callable[[LndSettings], LndBackend]
PATIENCE_S = 40


async def _issue(backend: LndBackend, count: int) -> list[IssuedInvoice]:
    wanted = NewInvoice(amount_msat=Msat(2_000), expiry_s=3600, memo="")
    return [await backend.create_invoice(wanted) for _ in range(count)]


async def _pay(network: LiveNetwork, invoices: list[IssuedInvoice]) -> None:
    await network.bob.link()
    wallet = LndPayer(network.bob.settings())
    for invoice in invoices:
        await wallet.pay(invoice.bolt11, max_fee_msat=Msat(0), timeout_s=20)
    await wallet.aclose()


async def _settled_once(network: LiveNetwork, backend: LndBackend) -> int:
    """The index of a fresh settlement."""
    (invoice,) = await _issue(backend, 1)
    await _pay(network, [invoice])
    status = await backend.lookup(invoice.payment_hash)
    assert status.state is InvoiceState.SETTLED
    return status.settle_index


async def _follow(backend: LndBackend, after: int, wanted: list[IssuedInvoice]) -> list[InvoiceStatus]:
    """As the gateway does: watch from the last index, and again whenever the node was lost."""
    seen: list[InvoiceStatus] = []
    hashes = {invoice.payment_hash for invoice in wanted}
    async with asyncio.timeout(PATIENCE_S):
        while not hashes <= {status.payment_hash for status in seen}:
            with contextlib.suppress(OutageError):
                async with contextlib.aclosing(backend.watch(after)) as settlements:  # type: ignore[type-var]
                    async for status in settlements:
                        seen.append(status)
                        after = status.settle_index
                        if hashes <= {one.payment_hash for one in seen}:
                            break
            await asyncio.sleep(0.1)
    return seen


async def _stop(node: LiveNode) -> None:
    await node.stop()


async def _kill(node: LiveNode) -> None:
    await node.kill()


@pytest.mark.parametrize("away", [_stop, _kill], ids=["restart", "kill -9"])
async def test_a_watch_survives_the_node_going_away_and_misses_nothing(
    away: Callable[[LiveNode], Awaitable[None]], network: LiveNetwork, connect: Connect
) -> None:
    backend = connect(network.alice.settings())
    after = await _settled_once(network, backend)
    invoices = await _issue(backend, 6)
    following = asyncio.create_task(_follow(backend, after, invoices))
    await _pay(network, invoices[:3])
    await away(network.alice)
    await network.alice.start()
    await _pay(network, invoices[3:])
    seen = await following
    assert [status.payment_hash for status in seen] == [invoice.payment_hash for invoice in invoices]
    assert [status.settle_index for status in seen] == list(range(after + 1, after + 7))


async def test_payments_made_while_we_were_not_connected_are_replayed(network: LiveNetwork, connect: Connect) -> None:
    first = connect(network.alice.settings())
    after = await _settled_once(network, first)
    invoices = await _issue(first, 4)
    await first.aclose()
    await _pay(network, invoices[:2])
    await network.alice.kill()
    await network.alice.start()
    await _pay(network, invoices[2:])
    second = connect(network.alice.settings())
    seen = await _follow(second, after, invoices)
    assert {status.payment_hash for status in seen} == {invoice.payment_hash for invoice in invoices}
    for invoice in invoices:
        assert (await second.lookup(invoice.payment_hash)).state is InvoiceState.SETTLED
