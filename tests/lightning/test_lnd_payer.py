"""LndPayer against a server of wire only; tests/regtest pays real invoices."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from google.protobuf.message import Message
from grpc import StatusCode

from gateway.errors import NodeNotReady, NodeRefusedCredentials, NodeUnreachable, PaymentFailed
from gateway.l402.amounts import Msat
from gateway.lightning.lnd import LndPayer
from gateway.lightning.lnd.rpc import lightning_pb2 as lnrpc
from gateway.lightning.lnd.rpc import router_pb2 as routerrpc
from gateway.lightning.payer import Payer, Payment
from tests.lightning.lnd_wire import Refusal, Silence, WireLnd
from tests.lightning.test_lnd_backend import REGTEST_INVOICE

SEND, TRACK = "/routerrpc.Router/SendPaymentV2", "/routerrpc.Router/TrackPaymentV2"
PREIMAGE = bytes(range(32))
PAID = lnrpc.Payment(status=lnrpc.Payment.SUCCEEDED, payment_preimage=PREIMAGE.hex(), fee_msat=12)
ALREADY_PAID = Refusal(StatusCode.ALREADY_EXISTS, "invoice is already paid")
PAYMENT_HASH = bytes.fromhex("c570fda9d02393f44fa14ad36261f5b4e8d943a3bd4aefb3075fa63d73fa2b8c")


@pytest.fixture
async def node() -> AsyncIterator[WireLnd]:
    async with WireLnd() as wire:
        wire.ends_streams = True
        yield wire


@pytest.fixture
async def payer(node: WireLnd) -> AsyncIterator[Payer]:
    lnd = LndPayer(node.settings(rpc_timeout_s=0.5))
    yield lnd
    await lnd.aclose()


async def _pay(payer: Payer, *, timeout_s: float = 10.0) -> Payment:
    return await payer.pay(REGTEST_INVOICE, max_fee_msat=Msat(250), timeout_s=timeout_s)


async def test_a_payment_has_a_fee_limit_and_a_time_limit(node: WireLnd, payer: Payer) -> None:
    node.says(SEND, PAID)
    assert await _pay(payer, timeout_s=2.5) == Payment(preimage=PREIMAGE, fee_msat=Msat(12))
    assert node.requests(SEND) == [
        routerrpc.SendPaymentRequest(
            payment_request=REGTEST_INVOICE, timeout_seconds=3, fee_limit_msat=250, no_inflight_updates=True
        )
    ]
    (asked,) = node.asked
    assert asked.deadline_s is not None
    assert 2.0 < asked.deadline_s < 3.5


async def test_what_is_under_way_is_waited_for(node: WireLnd, payer: Payer) -> None:
    node.says(SEND, lnrpc.Payment(status=lnrpc.Payment.INITIATED), lnrpc.Payment(status=lnrpc.Payment.IN_FLIGHT), PAID)
    assert (await _pay(payer)).preimage == PREIMAGE


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (lnrpc.FAILURE_REASON_TIMEOUT, "in time"),
        (lnrpc.FAILURE_REASON_NO_ROUTE, "no route"),
        (lnrpc.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS, "expired or already paid"),
        (lnrpc.FAILURE_REASON_INSUFFICIENT_BALANCE, "do not hold enough"),
        (lnrpc.FAILURE_REASON_CANCELED, "cancelled"),
        (lnrpc.FAILURE_REASON_ERROR, "failed"),
        (99, "failed"),
    ],
)
async def test_a_failed_payment_says_why(
    reason: lnrpc.PaymentFailureReason, words: str, node: WireLnd, payer: Payer
) -> None:
    node.says(SEND, lnrpc.Payment(status=lnrpc.Payment.FAILED, failure_reason=reason))
    with pytest.raises(PaymentFailed, match=words):
        await _pay(payer)


async def test_an_invoice_that_the_node_refuses_is_not_paid(node: WireLnd, payer: Payer) -> None:
    node.says(SEND, Refusal(StatusCode.UNKNOWN, "invoice expired. Valid until 2026-11-21 16:05:12 +0000 UTC"))
    with pytest.raises(PaymentFailed, match="invoice expired"):
        await _pay(payer)


async def test_an_invoice_paid_before_returns_the_same_preimage(node: WireLnd, payer: Payer) -> None:
    node.says(SEND, ALREADY_PAID)
    node.says(TRACK, PAID)
    assert (await _pay(payer)).preimage == PREIMAGE
    assert node.requests(TRACK) == [routerrpc.TrackPaymentRequest(payment_hash=PAYMENT_HASH, no_inflight_updates=True)]


async def test_a_payment_begun_before_that_fails_is_a_failed_payment(node: WireLnd, payer: Payer) -> None:
    node.says(SEND, Refusal(StatusCode.ALREADY_EXISTS, "payment is in transition"))
    node.says(TRACK, lnrpc.Payment(status=lnrpc.Payment.FAILED, failure_reason=lnrpc.FAILURE_REASON_NO_ROUTE))
    with pytest.raises(PaymentFailed, match="no route"):
        await _pay(payer)


async def test_a_payment_begun_before_may_still_be_under_way(node: WireLnd, payer: Payer) -> None:
    node.says(SEND, Refusal(StatusCode.ALREADY_EXISTS, "payment is in transition"))
    node.says(TRACK, Silence())
    with pytest.raises(NodeUnreachable):
        await _pay(payer, timeout_s=0.2)


async def test_a_macaroon_that_may_not_look_payments_up_still_fails_in_words(node: WireLnd, payer: Payer) -> None:
    node.says(SEND, ALREADY_PAID)
    node.says(TRACK, Refusal(StatusCode.UNKNOWN, "permission denied"))
    with pytest.raises(PaymentFailed, match="already paid"):
        await _pay(payer)


async def test_an_unreadable_invoice_is_not_looked_up(node: WireLnd, payer: Payer) -> None:
    node.says(SEND, ALREADY_PAID)
    with pytest.raises(PaymentFailed, match="cannot be read"):
        await payer.pay("lnbcrt1garbage", max_fee_msat=Msat(0), timeout_s=1)


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [lnrpc.Payment(status=lnrpc.Payment.IN_FLIGHT)],
        [Refusal(StatusCode.UNAVAILABLE, "Stream removed (Socket closed)")],
        [Silence()],
        [lnrpc.Payment(status=lnrpc.Payment.SUCCEEDED)],
        [lnrpc.Payment(status=lnrpc.Payment.SUCCEEDED, payment_preimage="zz" * 32)],
    ],
    ids=["nothing", "no result", "broken off", "silence", "no preimage", "no hex"],
)
async def test_a_result_that_is_not_known_is_never_called_a_failed_payment(
    answers: list[Message | Refusal | Silence], node: WireLnd, payer: Payer
) -> None:
    node.answers[SEND] = [*answers] or [lnrpc.Payment(status=lnrpc.Payment.INITIATED)]
    started = time.monotonic()
    with pytest.raises(NodeUnreachable):
        await _pay(payer, timeout_s=0.3)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("routerrpc server shutting down", NodeNotReady),
        ("wallet locked, unlock it to enable full RPC access", NodeNotReady),
        ("permission denied", NodeRefusedCredentials),
    ],
)
async def test_a_node_that_cannot_pay_now_is_no_failed_payment(
    words: str, error: type[Exception], node: WireLnd, payer: Payer
) -> None:
    node.says(SEND, Refusal(StatusCode.UNKNOWN, words))
    with pytest.raises(error):
        await _pay(payer)


async def test_slow_payments_do_not_make_the_node_count_as_dead(node: WireLnd) -> None:
    node.says(SEND, Silence())
    payer = LndPayer(node.settings(rpc_timeout_s=0.1))
    for _ in range(6):
        with pytest.raises(NodeUnreachable):
            await _pay(payer, timeout_s=0.01)
    assert len(node.requests(SEND)) == 6
    await payer.aclose()


def test_a_preimage_is_not_shown() -> None:
    assert PREIMAGE.hex() not in repr(Payment(PREIMAGE, Msat(0)))
    assert repr(PREIMAGE) not in repr(Payment(PREIMAGE, Msat(0)))
