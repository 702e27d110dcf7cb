"""The play-money wallet, over the real endpoint and over servers that misbehave."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.errors import NodeUnreachable, PaymentFailed
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import NewInvoice
from gateway.lightning.payer import Payment
from gateway.lightning.simulated import Faults, SimulatedPayer
from tests.lightning.simulated_bench import SimulatedBench

WANTED = NewInvoice(Msat(1_500), 600, "weather: default")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SimulatedBench]:
    bench = SimulatedBench(tmp_path / "node.db")
    await bench.backend.start()
    yield bench
    await bench.backend.aclose()


@pytest.fixture
async def wallet(node: SimulatedBench) -> AsyncIterator[SimulatedPayer]:
    payer = SimulatedPayer(node.backend.endpoint)
    yield payer
    await payer.aclose()


async def pay(wallet: SimulatedPayer, invoice: str, timeout_s: float = 10) -> Payment:
    return await wallet.pay(invoice, max_fee_msat=Msat(0), timeout_s=timeout_s)


async def test_it_pays_without_a_fee_and_twice_is_once(node: SimulatedBench, wallet: SimulatedPayer) -> None:
    issued = await node.backend.create_invoice(WANTED)
    payment = await pay(wallet, issued.bolt11)
    assert hashlib.sha256(payment.preimage).digest() == issued.payment_hash
    assert payment.fee_msat == 0
    assert await pay(wallet, issued.bolt11) == payment
    assert payment.preimage.hex() not in repr(payment)


async def test_what_will_never_be_paid_has_failed(node: SimulatedBench, wallet: SimulatedPayer) -> None:
    issued = await node.backend.create_invoice(WANTED)
    node.backend.faults = Faults(wrong_hash=True)
    unknown = await node.backend.create_invoice(WANTED)
    await node.pass_time(600)
    for invoice, message in (
        (issued.bolt11, "expired"),
        (unknown.bolt11, "not issued"),
        ("lnbcrt1garbage", "not a BOLT 11"),
    ):
        with pytest.raises(PaymentFailed, match=message):
            await pay(wallet, invoice)


async def test_a_payment_without_a_preimage_is_not_called_failed(node: SimulatedBench, wallet: SimulatedPayer) -> None:
    issued = await node.backend.create_invoice(WANTED)
    node.backend.faults = Faults(withhold_preimage=True)
    with pytest.raises(NodeUnreachable, match="withheld"):
        await pay(wallet, issued.bolt11)
    assert (await node.backend.lookup(issued.payment_hash)).state is InvoiceState.SETTLED
    node.backend.faults = Faults(down=True)
    with pytest.raises(NodeUnreachable):
        await pay(wallet, issued.bolt11)


async def test_a_node_that_is_gone_or_silent_is_unreachable(node: SimulatedBench, wallet: SimulatedPayer) -> None:
    issued = await node.backend.create_invoice(WANTED)
    node.backend.faults = Faults(slow=60)
    with pytest.raises(NodeUnreachable, match=r"no answer in 0\.1 s"):
        await pay(wallet, issued.bolt11, timeout_s=0.1)
    await node.backend.aclose()
    with pytest.raises(NodeUnreachable, match="no connection"):
        await pay(wallet, issued.bolt11)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"preimage": 7}'),
        (200, b'{"preimage": "xyz"}'),
        (200, b'{"preimage": "' + b"00" * 32 + b'"}'),
        (200, b'{"preimage": "' + b"00" * 40_000 + b'"}'),
        (200, b"[" * 50_000),
        (307, b"{}"),
        (404, b"no such page"),
        (500, b'{"code": ["unknown_invoice"]}'),
        (500, b"{}"),
    ],
)
async def test_an_answer_that_proves_nothing_is_not_a_payment(node: SimulatedBench, status: int, body: bytes) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers={"Location": node.backend.endpoint + "/pay"})

    app = web.Application()
    app.router.add_post("/pay", answer)
    issued = await node.backend.create_invoice(WANTED)
    async with TestServer(app) as server:
        wallet = SimulatedPayer(f"{server.make_url('/')}")
        try:
            with pytest.raises(NodeUnreachable):
                await pay(wallet, issued.bolt11)
        finally:
            await wallet.aclose()


async def test_a_closed_wallet_pays_nothing_and_can_be_closed_again(
    node: SimulatedBench, wallet: SimulatedPayer
) -> None:
    issued = await node.backend.create_invoice(WANTED)
    await pay(wallet, issued.bolt11)
    await asyncio.gather(wallet.aclose(), wallet.aclose())
    with pytest.raises(NodeUnreachable):
        await pay(wallet, issued.bolt11)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8403", "file:///etc/passwd", "http:/127.0.0.1"])
def test_a_url_is_needed(url: str) -> None:
    with pytest.raises(ValueError):
        SimulatedPayer(url)
