"""One table says what lnd's refusals mean; nothing of gRPC gets past it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

import gateway.lightning
from gateway.errors import (
    GatewayError,
    NodeNotReady,
    NodeRefusedCredentials,
    NodeRefusedRequest,
    NodeUnreachable,
    PaymentFailed,
    UnknownInvoice,
)
from gateway.l402.amounts import Msat
from gateway.lightning.backend import NewInvoice
from gateway.lightning.lnd import LndBackend, LndPayer
from gateway.lightning.lnd.outcomes import TABLE, outcome
from gateway.lightning.lnd.rpc import lightning_pb2 as lnrpc
from tests.lightning.lnd_wire import BY_PATH, Garbage, Refusal, WireLnd

ADD, LOOKUP = "/lnrpc.Lightning/AddInvoice", "/lnrpc.Lightning/LookupInvoice"
WANTED = NewInvoice(amount_msat=Msat(1500), expiry_s=600, memo="weather")


@dataclass(frozen=True)
class Case:
    situation: str
    status: StatusCode
    details: str
    error: type[GatewayError]


_MEASURED = (
    Case("no macaroon", StatusCode.UNKNOWN, "expected 1 macaroon, got 0", NodeRefusedCredentials),
    Case(
        "macaroon of another node",
        StatusCode.UNKNOWN,
        "verification failed: signature mismatch after caveat verification",
        NodeRefusedCredentials,
    ),
    Case(
        "macaroon with an unknown root key",
        StatusCode.UNKNOWN,
        "cannot get macaroon: root key with id 7 doesn't exist",
        NodeRefusedCredentials,
    ),
    Case("macaroon unreadable", StatusCode.UNKNOWN, "unmarshal v2: empty buffer", NodeRefusedCredentials),
    Case(
        "macaroon of no known form",
        StatusCode.UNKNOWN,
        "cannot determine data format of binary-encoded macaroon",
        NodeRefusedCredentials,
    ),
    Case("right missing", StatusCode.UNKNOWN, "permission denied", NodeRefusedCredentials),
    Case(
        "macaroon expired",
        StatusCode.UNKNOWN,
        'caveat "time-before 2026-01-01T00:00:00Z" not satisfied: macaroon has expired',
        NodeRefusedCredentials,
    ),
    Case("a proxy in front refuses", StatusCode.UNAUTHENTICATED, "no", NodeRefusedCredentials),
    Case(
        "another node's certificate",
        StatusCode.UNAVAILABLE,
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:10009: Tls handshake failed "
        "(TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:OPENSSL_internal:"
        "CERTIFICATE_VERIFY_FAILED: self signed certificate",
        NodeRefusedCredentials,
    ),
    Case(
        "no TLS there",
        StatusCode.UNAVAILABLE,
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:80: Tls handshake failed: "
        "SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER",
        NodeRefusedCredentials,
    ),
    Case(
        "process down",
        StatusCode.UNAVAILABLE,
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:10009: Failed to connect to remote "
        "host: Connection refused",
        NodeUnreachable,
    ),
    Case("killed in the middle", StatusCode.UNAVAILABLE, "Stream removed (Socket closed)", NodeUnreachable),
    Case("frozen", StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", NodeUnreachable),
    Case("stream reset", StatusCode.INTERNAL, "Received RST_STREAM with error code 2", NodeUnreachable),
    Case(
        "RPC server starting",
        StatusCode.UNKNOWN,
        "the RPC server is in the process of starting up, but not yet ready to accept calls",
        NodeNotReady,
    ),
    Case("server starting", StatusCode.UNKNOWN, "server is still in the process of starting", NodeNotReady),
    Case("waiting to lead", StatusCode.UNKNOWN, "waiting to start, RPC services not available", NodeNotReady),
    Case("wallet locked", StatusCode.UNKNOWN, "wallet locked, unlock it to enable full RPC access", NodeNotReady),
    Case(
        "wallet missing",
        StatusCode.UNKNOWN,
        "wallet not created, create one to enable full RPC access",
        NodeNotReady,
    ),
    Case(
        "wallet locked, said otherwise",
        StatusCode.UNIMPLEMENTED,
        "wallet locked, unlock it to enable full RPC access",
        NodeNotReady,
    ),
    Case("wallet locked, older lnd", StatusCode.UNIMPLEMENTED, "unknown service lnrpc.Lightning", NodeNotReady),
    Case("going down", StatusCode.UNKNOWN, "invoice registry shutting down", NodeNotReady),
    Case(
        "hash not 32 bytes",
        StatusCode.UNKNOWN,
        "payment hash must be exactly 32 bytes, is instead 31",
        NodeRefusedRequest,
    ),
    Case("own preimage twice", StatusCode.UNKNOWN, "invoice with payment hash already exists", NodeRefusedRequest),
    Case("two amounts", StatusCode.UNKNOWN, "sat and msat arguments are mutually exclusive", NodeRefusedRequest),
    Case(
        "amount too large",
        StatusCode.UNKNOWN,
        "invoice amount 21000000 BTC is too large, max is 100000 BTC",
        NodeRefusedRequest,
    ),
    Case("memo too long", StatusCode.UNKNOWN, "data length too big to fit within 10 bits: 1024", NodeRefusedRequest),
    Case("method unknown", StatusCode.UNIMPLEMENTED, "unknown method AddInvoice", NodeRefusedRequest),
    Case("paid before", StatusCode.ALREADY_EXISTS, "invoice is already paid", NodeRefusedRequest),
    Case("being paid", StatusCode.ALREADY_EXISTS, "payment is in transition", NodeRefusedRequest),
    Case("unknown payment hash", StatusCode.NOT_FOUND, "unable to locate invoice", UnknownInvoice),
    Case("unknown payment hash, older lnd", StatusCode.UNKNOWN, "unable to locate invoice", UnknownInvoice),
    Case("no invoice at all", StatusCode.UNKNOWN, "there are no existing invoices", UnknownInvoice),
)


@pytest.fixture
async def node() -> AsyncIterator[WireLnd]:
    async with WireLnd() as wire:
        yield wire


@pytest.fixture
async def backend(node: WireLnd) -> AsyncIterator[LndBackend]:
    lnd = LndBackend(node.settings(), clock=time.monotonic)
    yield lnd
    await lnd.aclose()


@pytest.mark.parametrize("case", _MEASURED, ids=lambda case: case.situation)
async def test_each_refusal_of_lnd_has_its_outcome(case: Case, node: WireLnd, backend: LndBackend) -> None:
    node.says(LOOKUP, Refusal(case.status, case.details))
    with pytest.raises(GatewayError) as raised:
        await backend.lookup(bytes(32))
    assert type(raised.value) is case.error or case.status is StatusCode.ALREADY_EXISTS
    assert isinstance(raised.value, case.error)


def test_no_row_of_the_table_is_without_a_case() -> None:
    used = {next(row for row in TABLE if row.fits(case.status, case.details)) for case in _MEASURED}
    assert used == set(TABLE)


@given(st.sampled_from(StatusCode), st.text(max_size=400))
def test_whatever_lnd_says_has_an_outcome(status: StatusCode, details: str) -> None:
    error = outcome(status, details)
    assert isinstance(error, GatewayError)
    assert len(str(error)) < 300


@given(st.sampled_from(StatusCode), st.sampled_from(["unmarshal v2: ", "verification failed: ", "encoding/hex: "]))
def test_what_is_said_of_a_macaroon_is_never_repeated(status: StatusCode, words: str) -> None:
    error = outcome(status, words + "0201036c6e64")
    assert not isinstance(error, NodeRefusedCredentials) or "0201036c6e64" not in str(error)


async def _first(steps: AsyncIterator[object]) -> object:
    return await anext(steps)


CALLS: dict[str, Callable[[LndBackend], Awaitable[object]]] = {
    "create_invoice": lambda backend: backend.create_invoice(WANTED),
    "lookup": lambda backend: backend.lookup(bytes(32)),
    "watch": lambda backend: _first(backend.watch(7)),
}


@pytest.mark.parametrize("call", CALLS)
async def test_no_status_gets_past_the_border_as_a_grpc_exception(
    call: str, node: WireLnd, backend: LndBackend
) -> None:
    for status in set(StatusCode) - {StatusCode.OK}:
        for path in BY_PATH:
            node.says(path, Refusal(status, "no such luck"))
        with pytest.raises(GatewayError) as raised:
            await CALLS[call](backend)
        assert raised.value.__cause__ is None


@pytest.mark.parametrize("call", CALLS)
async def test_an_answer_that_is_no_message_is_an_outage(call: str, node: WireLnd, backend: LndBackend) -> None:
    for path in BY_PATH:
        node.says(path, Garbage())
    with pytest.raises(NodeUnreachable):
        await CALLS[call](backend)


@pytest.mark.parametrize("call", CALLS)
async def test_an_answer_too_large_is_refused(call: str, node: WireLnd, backend: LndBackend) -> None:
    huge = lnrpc.Invoice(r_hash=bytes(32), state=lnrpc.Invoice.SETTLED, payment_request="l" * (5 * 1024 * 1024))
    for path in BY_PATH:
        node.says(path, huge)
    with pytest.raises(NodeRefusedRequest):
        await CALLS[call](backend)


@pytest.mark.parametrize("call", CALLS)
async def test_a_closed_backend_answers_unreachable(call: str, backend: LndBackend) -> None:
    await backend.aclose()
    with pytest.raises(NodeUnreachable):
        await CALLS[call](backend)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b""])
async def test_a_server_that_is_no_lnd_is_an_outage(greeting: bytes, node: WireLnd) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    backend = LndBackend(node.settings(address=f"127.0.0.1:{port}"), clock=time.monotonic)
    with pytest.raises((NodeUnreachable, NodeRefusedCredentials)):
        await backend.create_invoice(WANTED)
    await backend.aclose()
    server.close()
    await server.wait_closed()


async def test_a_payers_errors_are_ours_too(node: WireLnd) -> None:
    payer = LndPayer(node.settings())
    for status in set(StatusCode) - {StatusCode.OK}:
        node.says("/routerrpc.Router/SendPaymentV2", Refusal(status, "no such luck"))
        with pytest.raises((NodeUnreachable, NodeRefusedCredentials, PaymentFailed)):
            await payer.pay("lnbcrt1", max_fee_msat=Msat(0), timeout_s=1)
    await payer.aclose()


async def test_the_library_itself_failing_is_an_outage(node: WireLnd) -> None:
    backend = LndBackend(node.settings(address="unix:"), clock=time.monotonic)
    with pytest.raises(GatewayError):
        await backend.create_invoice(WANTED)
    await backend.aclose()


def test_only_the_border_knows_grpc() -> None:
    package = Path(gateway.lightning.__file__).parent
    importers = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"^\s*(import|from) grpc\b", path.read_text(), re.MULTILINE)
    }
    assert importers == {"lnd/connection.py", "lnd/outcomes.py"}
