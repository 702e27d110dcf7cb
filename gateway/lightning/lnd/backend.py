"""Invoices from a real lnd."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from gateway.errors import GatewayError, InvoiceError, NodeRefusedCredentials, NodeUnreachable, OutageError
from gateway.l402 import bolt11
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import InvoiceStatus, IssuedInvoice, NewInvoice, NodeHealth
from gateway.lightning.lnd.connection import Connection
from gateway.lightning.lnd.credentials import excess, rights
from gateway.lightning.lnd.methods import ADD_INVOICE, GET_INFO, LIST_INVOICES, LOOKUP_INVOICE, SUBSCRIBE_INVOICES
from gateway.lightning.lnd.rpc import lightning_pb2 as lnrpc
from gateway.lightning.settings import LndSettings

_STATES = {
    lnrpc.Invoice.OPEN: InvoiceState.OPEN,
    lnrpc.Invoice.ACCEPTED: InvoiceState.ACCEPTED,
    lnrpc.Invoice.SETTLED: InvoiceState.SETTLED,
    lnrpc.Invoice.CANCELED: InvoiceState.CANCELED,
}


class LndBackend:
    """A ``LightningBackend`` over one lnd. A macaroon with ``invoices:read invoices:write`` is enough.

    ``clock`` counts seconds. Beside the errors that the seam names nothing is raised; a node that is away, or
    credentials that cannot be read, show in `health` and as an error of each call, never at the start.
    """

    name = "lnd"

    def __init__(self, settings: LndSettings, *, clock: Callable[[], float]) -> None:
        self.network = settings.network
        self.play_money = settings.network != "mainnet"  # test coins are worth nothing
        self._private_hints = settings.private_hints
        self._connection = Connection(settings, clock=clock)

    async def start(self) -> None:
        """Begin to connect."""
        with contextlib.suppress(OutageError):  # told by health()
            await self._connection.open()

    async def create_invoice(self, wanted: NewInvoice) -> IssuedInvoice:
        """AddInvoice. lnd would take an amount of 0 as "any amount": it never gets to see one."""
        if wanted.amount_msat <= 0:
            raise ValueError("an invoice needs a positive amount")
        added = await self._connection.call(
            ADD_INVOICE,
            lnrpc.Invoice(
                value_msat=wanted.amount_msat,
                expiry=wanted.expiry_s,
                memo=wanted.memo,
                private=self._private_hints,
            ),
        )
        return IssuedInvoice(payment_hash=added.r_hash, bolt11=added.payment_request)

    async def lookup(self, payment_hash: bytes) -> InvoiceStatus:
        """LookupInvoice."""
        return _status(await self._connection.call(LOOKUP_INVOICE, lnrpc.PaymentHash(r_hash=payment_hash)))

    async def watch(self, after: int) -> AsyncIterator[InvoiceStatus]:
        """SubscribeInvoices, which also tells of new invoices and of payments without one: both are left out."""
        subscription = lnrpc.InvoiceSubscription(settle_index=after)
        async with contextlib.aclosing(self._connection.stream(SUBSCRIBE_INVOICES, subscription)) as invoices:
            async for invoice in invoices:
                if invoice.state == lnrpc.Invoice.SETTLED and len(invoice.r_hash) == 32 and not invoice.is_amp:
                    yield _status(invoice)
        raise NodeUnreachable("the node ended the settlement stream")

    async def health(self) -> NodeHealth:
        """GetInfo where the macaroon may; otherwise the latest invoice must be readable."""
        warnings: tuple[str, ...] = ()
        try:
            macaroon = (await self._connection.credentials()).macaroon
            warnings = _excess_warning(macaroon)
            known = rights(macaroon)
            if known is None or known & {GET_INFO.right, f"uri:{GET_INFO.path}"}:
                with contextlib.suppress(NodeRefusedCredentials):  # perhaps only of this right
                    info = await self._connection.call(GET_INFO, lnrpc.GetInfoRequest())
                    return self._judge_info(info, warnings)
            return self._judge_invoices(await self._latest_invoices(), warnings)
        except GatewayError as error:
            return NodeHealth(ready=False, detail=str(error), warnings=warnings)

    async def aclose(self) -> None:
        """Close the connection; calls under way end with ``NodeUnreachable``."""
        await self._connection.aclose()

    async def _latest_invoices(self) -> lnrpc.ListInvoiceResponse:
        return await self._connection.call(LIST_INVOICES, lnrpc.ListInvoiceRequest(num_max_invoices=1, reversed=True))

    def _judge_info(self, info: lnrpc.GetInfoResponse, warnings: tuple[str, ...]) -> NodeHealth:
        networks = [chain.network for chain in info.chains]
        if networks and self.network not in networks:
            return self._wrong_network(networks[0], warnings)
        if not info.synced_to_chain:
            return NodeHealth(ready=False, detail="the node is not synced to the chain yet", warnings=warnings)
        if info.num_active_channels == 0:
            warnings = (*warnings, "the node has no active channel: nobody can pay its invoices")
        return NodeHealth(
            ready=True, detail=f"lnd {info.version.partition(' ')[0]} on {self.network}", warnings=warnings
        )

    def _judge_invoices(self, latest: lnrpc.ListInvoiceResponse, warnings: tuple[str, ...]) -> NodeHealth:
        """Without ``info:read`` an invoice's prefix still tells the network."""
        for invoice in latest.invoices:
            with contextlib.suppress(InvoiceError):
                network = bolt11.decode(invoice.payment_request).network
                if network != self.network:
                    return self._wrong_network(network, warnings)
        return NodeHealth(ready=True, detail="lnd answers (no right to ask for more)", warnings=warnings)

    def _wrong_network(self, network: str, warnings: tuple[str, ...]) -> NodeHealth:
        detail = f"the node is on {network}, the configuration says {self.network}"
        return NodeHealth(ready=False, detail=detail, warnings=warnings)


def _status(invoice: lnrpc.Invoice) -> InvoiceStatus:
    # A state that a later lnd may add is not money: it counts as open.
    state = _STATES.get(invoice.state, InvoiceState.OPEN)
    settled = state is InvoiceState.SETTLED
    return InvoiceStatus(
        payment_hash=invoice.r_hash,
        state=state,
        amount_msat=Msat(invoice.value_msat),
        paid_msat=Msat(invoice.amt_paid_msat),
        settled_at=invoice.settle_date if settled else None,
        settle_index=invoice.settle_index if settled else 0,
    )


def _excess_warning(macaroon: bytes) -> tuple[str, ...]:
    if not (more := excess(macaroon)):
        return ()
    advice = "use one from `lncli bakemacaroon invoices:read invoices:write info:read`"
    return (f"the macaroon can do more than sell ({', '.join(more)}): {advice}",)
