"""A buyer's wallet on a real lnd (SendPaymentV2)."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncGenerator

from gateway.errors import InvoiceError, NodeRefusedCredentials, NodeRefusedRequest, NodeUnreachable, PaymentFailed
from gateway.l402 import bolt11
from gateway.l402.amounts import Msat
from gateway.lightning.lnd.connection import Connection
from gateway.lightning.lnd.methods import SEND_PAYMENT, TRACK_PAYMENT
from gateway.lightning.lnd.outcomes import AlreadyPaying
from gateway.lightning.lnd.rpc import lightning_pb2 as lnrpc
from gateway.lightning.lnd.rpc import router_pb2 as routerrpc
from gateway.lightning.payer import Payment
from gateway.lightning.settings import LndSettings

_REASONS = {
    lnrpc.FAILURE_REASON_TIMEOUT: "no attempt came through in time",
    lnrpc.FAILURE_REASON_NO_ROUTE: "no route to the seller within the fee limit",
    lnrpc.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS: (
        "the seller's node refused it: the invoice is unknown there, expired or already paid"
    ),
    lnrpc.FAILURE_REASON_INSUFFICIENT_BALANCE: "the wallet's channels do not hold enough",
    lnrpc.FAILURE_REASON_CANCELED: "the payment was cancelled in the wallet",
}


class LndPayer:
    """A ``Payer`` over one lnd. It needs ``offchain:write``, and ``offchain:read`` to find an earlier payment again.

    A Node error leaves open whether the invoice was paid: calling again with the same invoice settles it.
    """

    def __init__(self, settings: LndSettings) -> None:
        self._answer_time_s = settings.rpc_timeout_s
        self._connection = Connection(settings, clock=time.monotonic)

    async def pay(self, bolt11: str, *, max_fee_msat: Msat, timeout_s: float) -> Payment:
        """Pay, giving the node ``timeout_s`` to find a route. Routing fees stay within ``max_fee_msat`` (0 = none).

        Raises ``PaymentFailed`` with the reason, or a Node error.
        """
        request = routerrpc.SendPaymentRequest(
            payment_request=bolt11,
            timeout_seconds=max(math.ceil(timeout_s), 1),
            fee_limit_msat=max_fee_msat,
            allow_self_payment=False,
            no_inflight_updates=True,
        )
        payments = self._connection.stream(SEND_PAYMENT, request, timeout_s=timeout_s + self._answer_time_s)
        try:
            return _payment(await _final(payments))
        except AlreadyPaying:
            return await self._find(_payment_hash(bolt11), timeout_s)
        except NodeRefusedRequest as refusal:
            raise PaymentFailed(str(refusal)) from None

    async def aclose(self) -> None:
        """Close the connection. A payment under way goes on in the node."""
        await self._connection.aclose()

    async def _find(self, payment_hash: bytes, timeout_s: float) -> Payment:
        """What became of a payment that the node has begun before, waiting for it if need be."""
        request = routerrpc.TrackPaymentRequest(payment_hash=payment_hash, no_inflight_updates=True)
        try:
            return _payment(await _final(self._connection.stream(TRACK_PAYMENT, request, timeout_s=timeout_s)))
        except (NodeRefusedCredentials, NodeRefusedRequest):
            raise PaymentFailed("already paid, and the node does not tell the preimage") from None


async def _final(updates: AsyncGenerator[lnrpc.Payment, None]) -> lnrpc.Payment:
    async with contextlib.aclosing(updates):
        async for update in updates:
            if update.status in {lnrpc.Payment.SUCCEEDED, lnrpc.Payment.FAILED}:
                return update
    raise NodeUnreachable("the node ended the payment stream without a result")


def _payment(payment: lnrpc.Payment) -> Payment:
    if payment.status == lnrpc.Payment.FAILED:
        raise PaymentFailed(_REASONS.get(payment.failure_reason, "the payment failed in the wallet's node"))
    try:
        preimage = bytes.fromhex(payment.payment_preimage)
    except ValueError:
        preimage = b""
    if len(preimage) != 32:
        raise NodeUnreachable("the node reports a payment without a readable preimage")
    return Payment(preimage=preimage, fee_msat=Msat(payment.fee_msat))


def _payment_hash(invoice: str) -> bytes:
    try:
        return bolt11.decode(invoice).payment_hash
    except InvoiceError as error:
        raise PaymentFailed(f"the invoice cannot be read: {error}") from None
