"""bob pays alice through ``LndPayer``, or fails in words."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

import pytest

from gateway.errors import NodeRefusedCredentials, NodeUnreachable, PaymentFailed
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import NewInvoice
from gateway.lightning.lnd import LndBackend, LndPayer
from gateway.lightning.settings import FromFile, Inline, LndSettings
from tests.regtest.live import LiveNetwork

Connect = Callable[[LndSettings], LndBackend]


async def _invoice(seller: LndBackend, amount: int = 5_000, expiry_s: int = 600) -> str:
    return (await seller.create_invoice(NewInvoice(Msat(amount), expiry_s, "weather"))).bolt11


async def test_a_payment_returns_the_preimage_and_settles_the_invoice(
    network: LiveNetwork, connect: Connect, wallet: LndPayer
) -> None:
    seller = connect(network.alice.settings())
    issued = await seller.create_invoice(NewInvoice(Msat(5_000), 600, "weather"))
    payment = await wallet.pay(issued.bolt11, max_fee_msat=Msat(0), timeout_s=10)
    assert hashlib.sha256(payment.preimage).digest() == issued.payment_hash
    assert payment.fee_msat == 0
    assert (await seller.lookup(issued.payment_hash)).state is InvoiceState.SETTLED


async def test_paying_twice_pays_once_and_returns_the_same_preimage(
    network: LiveNetwork, connect: Connect, wallet: LndPayer
) -> None:
    seller = connect(network.alice.settings())
    issued = await seller.create_invoice(NewInvoice(Msat(5_000), 600, "weather"))
    first, second = [await wallet.pay(issued.bolt11, max_fee_msat=Msat(0), timeout_s=10) for _ in range(2)]
    assert first == second
    assert (await seller.lookup(issued.payment_hash)).paid_msat == 5_000


async def test_paying_at_the_same_time_pays_once(network: LiveNetwork, connect: Connect, wallet: LndPayer) -> None:
    seller = connect(network.alice.settings())
    issued = await seller.create_invoice(NewInvoice(Msat(5_000), 600, "weather"))
    payments = await asyncio.gather(*(wallet.pay(issued.bolt11, max_fee_msat=Msat(0), timeout_s=10) for _ in range(4)))
    assert len({payment.preimage for payment in payments}) == 1
    assert (await seller.lookup(issued.payment_hash)).paid_msat == 5_000


async def test_an_expired_invoice_is_not_paid(network: LiveNetwork, connect: Connect, wallet: LndPayer) -> None:
    invoice = await _invoice(connect(network.alice.settings()), expiry_s=1)
    await asyncio.sleep(1.5)
    with pytest.raises(PaymentFailed, match="invoice expired"):
        await wallet.pay(invoice, max_fee_msat=Msat(0), timeout_s=10)


async def test_more_than_the_channel_holds_is_not_paid(
    network: LiveNetwork, connect: Connect, wallet: LndPayer
) -> None:
    invoice = await _invoice(connect(network.alice.settings()), amount=17_000_000_000)
    with pytest.raises(PaymentFailed, match="do not hold enough"):
        await wallet.pay(invoice, max_fee_msat=Msat(0), timeout_s=10)


async def test_an_invoice_that_the_seller_cancelled_is_not_paid(
    network: LiveNetwork, connect: Connect, wallet: LndPayer
) -> None:
    from gateway.lightning.lnd.connection import Connection
    from gateway.lightning.lnd.methods import Unary
    from gateway.lightning.lnd.rpc import invoices_pb2 as invoicesrpc

    issued = await connect(network.alice.settings()).create_invoice(NewInvoice(Msat(5_000), 600, ""))
    cancel = Unary(
        "/invoicesrpc.Invoices/CancelInvoice",
        invoicesrpc.CancelInvoiceMsg,
        invoicesrpc.CancelInvoiceResp,
        "invoices:write",
    )
    connection = Connection(network.alice.settings(), clock=lambda: 0.0)
    await connection.call(cancel, invoicesrpc.CancelInvoiceMsg(payment_hash=issued.payment_hash))
    await connection.aclose()
    with pytest.raises(PaymentFailed, match="unknown there, expired or already paid"):
        await wallet.pay(issued.bolt11, max_fee_msat=Msat(0), timeout_s=10)


async def test_an_invoice_of_ones_own_is_not_paid(network: LiveNetwork, connect: Connect, wallet: LndPayer) -> None:
    invoice = await _invoice(connect(network.bob.settings(macaroon=FromFile(network.bob.admin_macaroon))))
    with pytest.raises(PaymentFailed, match="self-payments not allowed"):
        await wallet.pay(invoice, max_fee_msat=Msat(0), timeout_s=10)


async def test_text_that_is_no_invoice_is_not_paid(wallet: LndPayer) -> None:
    with pytest.raises(PaymentFailed):
        await wallet.pay("lnbcrt1garbage", max_fee_msat=Msat(0), timeout_s=10)


async def test_a_macaroon_that_may_not_pay_is_credentials_refused(network: LiveNetwork, connect: Connect) -> None:
    invoice = await _invoice(connect(network.alice.settings()))
    payer = LndPayer(network.bob.settings(macaroon=Inline(await network.bob.bake("invoices:read"))))
    with pytest.raises(NodeRefusedCredentials):
        await payer.pay(invoice, max_fee_msat=Msat(0), timeout_s=10)
    await payer.aclose()


async def test_a_macaroon_that_may_only_pay_cannot_pay_twice(network: LiveNetwork, connect: Connect) -> None:
    invoice = await _invoice(connect(network.alice.settings()))
    await network.bob.link()
    payer = LndPayer(network.bob.settings(macaroon=Inline(await network.bob.bake("offchain:write"))))
    await payer.pay(invoice, max_fee_msat=Msat(0), timeout_s=10)
    with pytest.raises(PaymentFailed, match="already paid"):
        await payer.pay(invoice, max_fee_msat=Msat(0), timeout_s=10)
    await payer.aclose()


async def test_a_dead_wallet_is_unreachable_and_not_a_failed_payment(
    network: LiveNetwork, connect: Connect, wallet: LndPayer
) -> None:
    invoice = await _invoice(connect(network.alice.settings()))
    await network.bob.kill()
    with pytest.raises(NodeUnreachable):
        await wallet.pay(invoice, max_fee_msat=Msat(0), timeout_s=10)
    await network.bob.start()
    await network.bob.link()
    async with asyncio.timeout(30):
        while True:
            try:
                await wallet.pay(invoice, max_fee_msat=Msat(0), timeout_s=10)
            except NodeUnreachable:
                await asyncio.sleep(0.05)
            else:
                break


async def test_a_payment_to_a_frozen_seller_is_unknown_and_found_again(
    network: LiveNetwork, connect: Connect, wallet: LndPayer
) -> None:
    seller = connect(network.alice.settings())
    issued = await seller.create_invoice(NewInvoice(Msat(5_000), 600, ""))
    payer = LndPayer(network.bob.settings(rpc_timeout_s=1.0))
    await network.alice.freeze()
    with pytest.raises(NodeUnreachable):
        await payer.pay(issued.bolt11, max_fee_msat=Msat(0), timeout_s=1.0)
    await network.alice.thaw()
    payment = await wallet.pay(issued.bolt11, max_fee_msat=Msat(0), timeout_s=20)
    assert hashlib.sha256(payment.preimage).digest() == issued.payment_hash
    assert (await seller.lookup(issued.payment_hash)).paid_msat == 5_000
    await payer.aclose()
