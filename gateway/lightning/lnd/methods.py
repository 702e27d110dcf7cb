"""The remote procedures that are called, by path: what goes in, what comes out, which right it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from gateway.lightning.lnd.rpc import lightning_pb2 as lnrpc
from gateway.lightning.lnd.rpc import router_pb2 as routerrpc

Request = TypeVar("Request", bound=Message)
Reply = TypeVar("Reply", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Reply]):
    """One method: ``/package.Service/Name`` and its message types. ``right`` is lnd's, empty where it asks for none."""

    path: str
    request: type[Request]
    reply: type[Reply]
    right: str


@dataclass(frozen=True, slots=True)
class Unary(Method[Request, Reply]):
    """One answer."""


@dataclass(frozen=True, slots=True)
class Streaming(Method[Request, Reply]):
    """Any number of answers."""


ADD_INVOICE = Unary("/lnrpc.Lightning/AddInvoice", lnrpc.Invoice, lnrpc.AddInvoiceResponse, "invoices:write")
LOOKUP_INVOICE = Unary("/lnrpc.Lightning/LookupInvoice", lnrpc.PaymentHash, lnrpc.Invoice, "invoices:read")
LIST_INVOICES = Unary(
    "/lnrpc.Lightning/ListInvoices", lnrpc.ListInvoiceRequest, lnrpc.ListInvoiceResponse, "invoices:read"
)
SUBSCRIBE_INVOICES = Streaming(
    "/lnrpc.Lightning/SubscribeInvoices", lnrpc.InvoiceSubscription, lnrpc.Invoice, "invoices:read"
)
GET_INFO = Unary("/lnrpc.Lightning/GetInfo", lnrpc.GetInfoRequest, lnrpc.GetInfoResponse, "info:read")
GET_STATE = Unary("/lnrpc.State/GetState", lnrpc.GetStateRequest, lnrpc.GetStateResponse, "")
SEND_PAYMENT = Streaming(
    "/routerrpc.Router/SendPaymentV2", routerrpc.SendPaymentRequest, lnrpc.Payment, "offchain:write"
)
TRACK_PAYMENT = Streaming(
    "/routerrpc.Router/TrackPaymentV2", routerrpc.TrackPaymentRequest, lnrpc.Payment, "offchain:read"
)

SELLING = (ADD_INVOICE, LOOKUP_INVOICE, LIST_INVOICES, SUBSCRIBE_INVOICES, GET_INFO)
"""All that a gateway calls with its macaroon; a macaroon that can do more is warned about."""
