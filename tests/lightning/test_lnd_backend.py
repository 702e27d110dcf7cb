"""LndBackend against a server of wire only; tests/regtest asks the same of a real node."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trustme
from grpc import StatusCode

from gateway.errors import NodeRefusedCredentials, NodeRefusedRequest, NodeUnreachable, OutageError
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import InvoiceStatus, IssuedInvoice, LightningBackend, NewInvoice, NodeHealth
from gateway.lightning.lnd import LndBackend
from gateway.lightning.lnd.connection import CONCURRENT_CALLS
from gateway.lightning.lnd.rpc import lightning_pb2 as lnrpc
from gateway.lightning.settings import FromFile, Inline, LndSettings
from tests.lightning.lnd_wire import Refusal, Silence, WireLnd, bake

ADD, LOOKUP = "/lnrpc.Lightning/AddInvoice", "/lnrpc.Lightning/LookupInvoice"
SUBSCRIBE, LIST = "/lnrpc.Lightning/SubscribeInvoices", "/lnrpc.Lightning/ListInvoices"
GET_INFO, GET_STATE = "/lnrpc.Lightning/GetInfo", "/lnrpc.State/GetState"
WANTED = NewInvoice(amount_msat=Msat(1500), expiry_s=600, memo="wéather /now")
HASH = bytes(range(32))
ADDED = lnrpc.AddInvoiceResponse(r_hash=HASH, payment_request="lnbcrt15n1…", add_index=4)
DENIED = Refusal(StatusCode.UNKNOWN, "permission denied")

Open = Callable[[LndSettings], LndBackend]


@pytest.fixture
async def node() -> AsyncIterator[WireLnd]:
    async with WireLnd() as wire:
        wire.says(ADD, ADDED)
        wire.says(GET_STATE, lnrpc.GetStateResponse(state=lnrpc.SERVER_ACTIVE))
        yield wire


@pytest.fixture
async def connect() -> AsyncIterator[Open]:
    """Opens backends and closes them in the end; their clock moves a minute with each look at it."""
    opened: list[LndBackend] = []
    minutes = itertools.count(step=60)

    def make(settings: LndSettings) -> LndBackend:
        opened.append(LndBackend(settings, clock=lambda: float(next(minutes))))
        return opened[-1]

    yield make
    for backend in opened:
        await backend.aclose()


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.005)


# Invoices


async def test_an_invoice_is_asked_for_in_millisatoshi_with_expiry_and_memo(node: WireLnd, connect: Open) -> None:
    backend: LightningBackend = connect(node.settings())
    assert await backend.create_invoice(WANTED) == IssuedInvoice(payment_hash=HASH, bolt11="lnbcrt15n1…")
    assert node.requests(ADD) == [lnrpc.Invoice(value_msat=1500, expiry=600, memo="wéather /now")]
    assert (backend.name, backend.network, backend.play_money) == ("lnd", "regtest", True)


async def test_hints_for_private_channels_are_asked_for_only_when_set(node: WireLnd, connect: Open) -> None:
    await connect(node.settings(private_hints=True)).create_invoice(WANTED)
    await connect(node.settings()).create_invoice(WANTED)
    assert [request.private for request in node.requests(ADD)] == [True, False]


async def test_coins_of_mainnet_are_no_play_money(node: WireLnd, connect: Open) -> None:
    assert connect(node.settings(network="mainnet")).play_money is False


@pytest.mark.parametrize("amount", [0, -1])
async def test_an_amount_that_is_not_positive_never_reaches_the_node(amount: int, node: WireLnd, connect: Open) -> None:
    with pytest.raises(ValueError, match="positive"):
        await connect(node.settings()).create_invoice(NewInvoice(Msat(amount), 600, ""))
    assert node.asked == []


async def test_the_macaroon_goes_in_hex_with_each_call_and_every_call_has_a_deadline(
    node: WireLnd, connect: Open
) -> None:
    backend = connect(node.settings(macaroon=Inline(b"\x02\xab"), rpc_timeout_s=3.0))
    await backend.create_invoice(WANTED)
    await backend.health()
    assert {asked.metadata["macaroon"] for asked in node.asked} == {"02ab"}
    assert all(asked.deadline_s is not None and 2.0 < asked.deadline_s < 3.5 for asked in node.asked)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (
            lnrpc.Invoice(r_hash=HASH, value_msat=1500),
            InvoiceStatus(HASH, InvoiceState.OPEN, Msat(1500), Msat(0), None, 0),
        ),
        (
            lnrpc.Invoice(r_hash=HASH, value_msat=1500, state=lnrpc.Invoice.ACCEPTED, amt_paid_msat=1500),
            InvoiceStatus(HASH, InvoiceState.ACCEPTED, Msat(1500), Msat(1500), None, 0),
        ),
        (
            lnrpc.Invoice(
                r_hash=HASH, value_msat=1500, state=lnrpc.Invoice.SETTLED, amt_paid_msat=1501, settle_date=77,
                settle_index=5,
            ),
            InvoiceStatus(HASH, InvoiceState.SETTLED, Msat(1500), Msat(1501), 77, 5),
        ),
        (
            lnrpc.Invoice(r_hash=HASH, value_msat=1500, state=lnrpc.Invoice.CANCELED),
            InvoiceStatus(HASH, InvoiceState.CANCELED, Msat(1500), Msat(0), None, 0),
        ),
        (
            lnrpc.Invoice.FromString(b"\xa8\x01\x09"),
            InvoiceStatus(b"", InvoiceState.OPEN, Msat(0), Msat(0), None, 0),
        ),
    ],
    ids=["open", "accepted", "settled and overpaid", "cancelled", "a state of a later lnd is not money"],
)  # fmt: skip
async def test_a_lookup_tells_the_state(
    known: lnrpc.Invoice, expected: InvoiceStatus, node: WireLnd, connect: Open
) -> None:
    node.says(LOOKUP, known)
    assert await connect(node.settings()).lookup(HASH) == expected
    assert node.requests(LOOKUP) == [lnrpc.PaymentHash(r_hash=HASH)]


# Settlements


def _settled(index: int, **changes: object) -> lnrpc.Invoice:
    invoice = lnrpc.Invoice(
        r_hash=bytes([index]) * 32, value_msat=1500, amt_paid_msat=1500, state=lnrpc.Invoice.SETTLED, settle_date=77,
        settle_index=index,
    )  # fmt: skip
    invoice.MergeFrom(lnrpc.Invoice(**changes))  # type: ignore[arg-type]
    return invoice


async def test_a_watch_yields_settlements_only_from_the_index_asked_for(node: WireLnd, connect: Open) -> None:
    node.says(
        SUBSCRIBE,
        _settled(8),
        lnrpc.Invoice(r_hash=HASH, value_msat=1500),
        lnrpc.Invoice(r_hash=HASH, value_msat=1500, state=lnrpc.Invoice.ACCEPTED),
        lnrpc.Invoice(r_hash=HASH, value_msat=1500, state=lnrpc.Invoice.CANCELED),
        lnrpc.Invoice(state=lnrpc.Invoice.SETTLED, settle_index=9, is_keysend=True),
        _settled(10, is_amp=True),
        _settled(11),
    )
    settlements = connect(node.settings()).watch(7)
    assert [(await anext(settlements)).settle_index for _ in range(2)] == [8, 11]
    assert node.requests(SUBSCRIBE) == [lnrpc.InvoiceSubscription(settle_index=7)]
    await settlements.aclose()  # type: ignore[attr-defined]
    await _until(lambda: node.under_way == 0)


async def test_a_watch_has_no_deadline(node: WireLnd, connect: Open) -> None:
    node.says(SUBSCRIBE, _settled(1))
    settlements = connect(node.settings(rpc_timeout_s=0.5)).watch(0)
    await anext(settlements)
    assert node.asked[0].deadline_s is None
    await settlements.aclose()  # type: ignore[attr-defined]


async def test_a_watch_ends_with_an_outage_when_the_node_ends_it(node: WireLnd, connect: Open) -> None:
    node.says(SUBSCRIBE, _settled(1))
    node.ends_streams = True
    settlements = connect(node.settings()).watch(0)
    await anext(settlements)
    with pytest.raises(NodeUnreachable):
        await anext(settlements)


async def test_a_watch_ends_with_an_outage_when_the_connection_breaks(node: WireLnd, connect: Open) -> None:
    node.says(SUBSCRIBE, _settled(1))
    settlements = connect(node.settings()).watch(0)
    await anext(settlements)
    await node.stop()
    with pytest.raises(NodeUnreachable):
        await anext(settlements)


async def test_a_watch_that_is_cancelled_is_cancelled_at_the_node_too(node: WireLnd, connect: Open) -> None:
    node.says(SUBSCRIBE, _settled(1))
    settlements = connect(node.settings()).watch(0)
    await anext(settlements)
    waiting = asyncio.ensure_future(anext(settlements))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await _until(lambda: node.under_way == 0)


# Time and load


async def test_a_silent_node_is_unreachable_after_the_deadline(node: WireLnd, connect: Open) -> None:
    node.says(ADD, Silence())
    started = time.monotonic()
    with pytest.raises(NodeUnreachable) as raised:
        await connect(node.settings(rpc_timeout_s=0.2)).create_invoice(WANTED)
    assert 0.15 < time.monotonic() - started < 2
    assert type(raised.value) is NodeUnreachable


async def test_at_most_64_calls_are_under_way_and_the_others_wait_within_their_deadline(
    node: WireLnd, connect: Open
) -> None:
    node.says(ADD, Silence())
    backend = connect(node.settings(rpc_timeout_s=0.5))
    calls = [asyncio.create_task(backend.create_invoice(WANTED)) for _ in range(CONCURRENT_CALLS + 20)]
    started = time.monotonic()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert time.monotonic() - started < 3
    assert {type(result) for result in results} == {NodeUnreachable}
    assert node.most_under_way == CONCURRENT_CALLS


async def test_a_cancelled_call_is_cancelled_at_the_node_and_frees_its_place(node: WireLnd, connect: Open) -> None:
    node.says(ADD, Silence())
    backend = connect(node.settings())
    for _ in range(2):
        calls = [asyncio.create_task(backend.create_invoice(WANTED)) for _ in range(CONCURRENT_CALLS)]
        await _until(lambda: node.under_way == CONCURRENT_CALLS)
        for call in calls:
            call.cancel()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {asyncio.CancelledError}
        await _until(lambda: node.under_way == 0)


async def _outcome(backend: LndBackend) -> type[Exception] | None:
    try:
        await backend.create_invoice(WANTED)
    except OutageError as error:
        return type(error)
    return None


async def _until_it_sells(backend: LndBackend) -> None:
    async with asyncio.timeout(15):
        while await _outcome(backend) is not None:
            await asyncio.sleep(0.01)


async def test_a_dead_node_is_refused_within_100_ms_and_noticed_when_it_is_back(node: WireLnd, connect: Open) -> None:
    backend = connect(node.settings())
    await backend.create_invoice(WANTED)
    await node.stop()
    times: list[float] = []
    for _ in range(21):
        started = time.monotonic()
        assert await _outcome(backend) is NodeUnreachable
        times.append(time.monotonic() - started)
    assert statistics.median(times) < 0.1
    assert not (await backend.health()).ready
    await node.start()
    await _until_it_sells(backend)


async def test_a_frozen_node_costs_two_callers_their_deadline_and_then_nobody(node: WireLnd, connect: Open) -> None:
    node.says(ADD, Silence())
    node.says(GET_STATE, Silence())
    backend = connect(node.settings(rpc_timeout_s=0.3))
    for _ in range(2):
        assert await _outcome(backend) is NodeUnreachable
    asked = len(node.requests(ADD))
    started = time.monotonic()
    for _ in range(50):
        assert await _outcome(backend) is NodeUnreachable
    assert time.monotonic() - started < 1  # 15 s if each waited
    assert len(node.requests(ADD)) == asked
    node.says(ADD, ADDED)
    node.says(GET_STATE, lnrpc.GetStateResponse())
    await _until_it_sells(backend)


class Nat:
    """A relay in front of the node that can forget its connections: they stay open, and nothing comes through."""

    def __init__(self, node: WireLnd) -> None:
        self._node = node
        self._relays: set[asyncio.Task[None]] = set()
        self._readers: list[asyncio.StreamReader] = []  # a reader that is garbage takes its connection along
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        await self.forget()
        for writer in self._writers:
            writer.close()
        self._server.close()

    async def forget(self) -> None:
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)
        self._relays.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node_reader, node_writer = await asyncio.open_connection("127.0.0.1", self._node.port)
        self._readers += [reader, node_reader]
        self._writers += [writer, node_writer]
        for source, target in ((reader, node_writer), (node_reader, writer)):
            self._relays.add(asyncio.create_task(self._relay(source, target)))

    async def _relay(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.close()


async def test_a_connection_that_died_in_silence_is_replaced_by_a_new_one(node: WireLnd, connect: Open) -> None:
    nat = Nat(node)
    async with nat as address:
        backend = connect(node.settings(address=address, rpc_timeout_s=0.3))
        await backend.create_invoice(WANTED)
        await nat.forget()
        assert await _outcome(backend) is NodeUnreachable
        started = time.monotonic()
        await _until_it_sells(backend)
        assert time.monotonic() - started < 4  # gRPC by itself needs 5 s
        await backend.aclose()


async def test_a_node_that_refuses_is_not_dead(node: WireLnd, connect: Open) -> None:
    node.says(ADD, Refusal(StatusCode.UNKNOWN, "invoice amount is too large"))
    backend = connect(node.settings())
    for _ in range(10):
        assert await _outcome(backend) is NodeRefusedRequest
    assert len(node.requests(ADD)) == 10


async def test_closing_ends_what_is_under_way_with_an_outage_and_may_be_repeated(node: WireLnd, connect: Open) -> None:
    node.says(ADD, Silence())
    backend = connect(node.settings())
    call = asyncio.create_task(backend.create_invoice(WANTED))
    settlements = backend.watch(0)
    watch = asyncio.ensure_future(anext(settlements))
    node.says(SUBSCRIBE, Silence())
    await _until(lambda: node.under_way == 2)
    await backend.aclose()
    await backend.aclose()
    assert [type(result) for result in await asyncio.gather(call, watch, return_exceptions=True)] == [
        NodeUnreachable,
        NodeUnreachable,
    ]


async def test_closing_stops_the_search_for_a_dead_node(node: WireLnd, connect: Open) -> None:
    await node.stop()
    backend = connect(node.settings())
    for _ in range(6):
        await _outcome(backend)
    assert [task for task in asyncio.all_tasks() if task.get_name() == "lnd probe"]
    await backend.aclose()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "lnd probe"]


async def test_starting_while_the_node_is_away_does_not_fail(node: WireLnd, connect: Open, tmp_path: Path) -> None:
    await node.stop()
    await connect(node.settings()).start()
    await connect(node.settings(macaroon=FromFile(tmp_path / "gone"))).start()
    assert await _outcome(connect(node.settings())) is NodeUnreachable


async def test_a_proxy_in_the_environment_is_not_used(
    node: WireLnd, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert await connect(node.settings()).create_invoice(WANTED)


# Credentials


async def test_another_certificate_than_the_pinned_one_is_refused(node: WireLnd, connect: Open) -> None:
    stranger = trustme.CA().cert_pem.bytes()
    backend = connect(node.settings(tls_cert=Inline(stranger)))
    assert await _outcome(backend) is NodeRefusedCredentials
    assert "certificate" in (await backend.health()).detail
    assert node.asked == []


async def test_a_certificate_for_another_name_is_refused(connect: Open) -> None:
    async with WireLnd(names=("lnd.example.com",)) as node:
        node.says(ADD, ADDED)
        backend = connect(node.settings())
        assert await _outcome(backend) is NodeRefusedCredentials
        assert node.asked == []


async def test_a_replaced_macaroon_file_is_used_from_the_next_call_on(
    node: WireLnd, connect: Open, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.macaroon"
    file.write_bytes(b"old")
    backend = connect(node.settings(macaroon=FromFile(file)))
    await backend.create_invoice(WANTED)
    file.write_bytes(b"new")
    await backend.create_invoice(WANTED)
    assert [asked.metadata["macaroon"] for asked in node.asked] == [b"old".hex(), b"new".hex()]


async def test_a_refused_macaroon_is_read_again_at_once(node: WireLnd, tmp_path: Path) -> None:
    file = tmp_path / "gateway.macaroon"
    file.write_bytes(b"old")
    backend = LndBackend(node.settings(macaroon=FromFile(file)), clock=lambda: 0.0)  # time stands still
    node.says(ADD, Refusal(StatusCode.UNKNOWN, "verification failed: signature mismatch"), ADDED)
    assert await _outcome(backend) is NodeRefusedCredentials
    file.write_bytes(b"new")
    assert await _outcome(backend) is None
    assert node.asked[-1].metadata["macaroon"] == b"new".hex()
    await backend.aclose()


async def test_a_node_with_a_new_certificate_is_found_again_by_its_file(connect: Open, tmp_path: Path) -> None:
    file = tmp_path / "tls.cert"
    async with WireLnd(ca=trustme.CA()) as old:
        old.says(ADD, ADDED)
        file.write_bytes(old.certificate)
        backend = connect(old.settings(tls_cert=FromFile(file)))
        await backend.create_invoice(WANTED)
    async with WireLnd(ca=trustme.CA(), port=old.port) as new:
        new.says(ADD, ADDED)
        new.says(GET_STATE, lnrpc.GetStateResponse())
        assert await _outcome(backend) is not None
        file.write_bytes(new.certificate)
        await _until_it_sells(backend)


async def test_a_file_that_is_away_for_a_moment_stops_nothing(node: WireLnd, connect: Open, tmp_path: Path) -> None:
    file = tmp_path / "gateway.macaroon"
    file.write_bytes(b"old")
    backend = connect(node.settings(macaroon=FromFile(file)))
    await backend.create_invoice(WANTED)
    file.unlink()
    await backend.create_invoice(WANTED)


async def test_a_stream_goes_on_when_the_credentials_are_replaced_beside_it(
    node: WireLnd, connect: Open, tmp_path: Path
) -> None:
    file = tmp_path / "gateway.macaroon"
    file.write_bytes(b"old")
    backend = connect(node.settings(macaroon=FromFile(file)))
    node.says(SUBSCRIBE, _settled(1), _settled(2))
    settlements = backend.watch(0)
    await anext(settlements)
    file.write_bytes(b"new")
    await backend.create_invoice(WANTED)
    await backend.create_invoice(WANTED)
    assert (await anext(settlements)).settle_index == 2
    await settlements.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("missing", ["macaroon", "tls_cert"])
async def test_a_missing_file_degrades_the_start_and_is_named(
    missing: str, node: WireLnd, connect: Open, tmp_path: Path
) -> None:
    file = tmp_path / "not-there-yet"
    gone = FromFile(file)
    settings = node.settings(macaroon=gone) if missing == "macaroon" else node.settings(tls_cert=gone)
    backend = connect(settings)
    await backend.start()
    assert await _outcome(backend) is NodeRefusedCredentials
    assert await backend.health() == NodeHealth(
        ready=False, detail=f"cannot read {missing} {file}: No such file or directory"
    )
    file.write_bytes(bake("invoices:write") if missing == "macaroon" else node.certificate)
    assert await _outcome(backend) is None


# Health


def _info(**changes: object) -> lnrpc.GetInfoResponse:
    info = lnrpc.GetInfoResponse(version="0.21.1-beta commit=v0.21.1-beta", synced_to_chain=True, num_active_channels=2)
    info.chains.add(network="regtest")
    info.MergeFrom(lnrpc.GetInfoResponse(**changes))  # type: ignore[arg-type]
    return info


async def test_a_node_that_tells_about_itself_is_ready(node: WireLnd, connect: Open) -> None:
    node.says(GET_INFO, _info())
    backend = connect(node.settings(macaroon=Inline(bake("invoices:read", "invoices:write", "info:read"))))
    assert await backend.health() == NodeHealth(ready=True, detail="lnd 0.21.1-beta on regtest")


async def test_a_node_on_another_network_is_not_ready(node: WireLnd, connect: Open) -> None:
    node.says(GET_INFO, _info())
    backend = connect(node.settings(network="mainnet", macaroon=Inline(bake("info:read"))))
    health = await backend.health()
    assert (health.ready, health.detail) == (False, "the node is on regtest, the configuration says mainnet")


async def test_a_node_behind_the_chain_is_not_ready(node: WireLnd, connect: Open) -> None:
    unsynced = _info()
    unsynced.synced_to_chain = False
    node.says(GET_INFO, unsynced)
    health = await connect(node.settings(macaroon=Inline(bake("info:read")))).health()
    assert (health.ready, "synced" in health.detail) == (False, True)


async def test_a_node_that_nobody_can_pay_earns_a_warning(node: WireLnd, connect: Open) -> None:
    lonely = _info()
    lonely.num_active_channels = 0
    node.says(GET_INFO, lonely)
    health = await connect(node.settings(macaroon=Inline(bake("info:read")))).health()
    assert health.ready
    assert any("channel" in warning for warning in health.warnings)


REGTEST_INVOICE = (
    "lnbcrt50n1p4srsfhpp5c4c0m2wsywflgnapftfkyc04kn5djsarh49wlvc8t7nr6ul69wxqdqz0qcqzzsxqzjcsp5q4nplmpwu83e3604nhx4e0muwm"
    "shznjemmlskmyzn9w5kn96a2dq9qxpqysgqgkjqx5pzwdfh5tncenzky9p0nnt0pzqm9u2jusmu8ktkcynyytdknp46nqsmpwhgvzeldjnjdzy0uuj2jd"
    "pf5hsyc954wjkke4ydjvsp06eq7g"
)


@pytest.mark.parametrize(
    ("network", "invoices", "ready"),
    [
        ("regtest", [REGTEST_INVOICE], True),
        ("regtest", [], True),
        ("mainnet", [REGTEST_INVOICE], False),
        ("mainnet", [], True),
        ("mainnet", ["not an invoice"], True),
    ],
)
async def test_without_the_right_to_ask_the_latest_invoice_tells_the_network(
    network: str, invoices: list[str], ready: bool, node: WireLnd, connect: Open
) -> None:
    listed = [lnrpc.Invoice(payment_request=invoice) for invoice in invoices]
    node.says(LIST, lnrpc.ListInvoiceResponse(invoices=listed))
    backend = connect(node.settings(network=network))
    assert (await backend.health()).ready is ready
    assert node.requests(GET_INFO) == []
    assert node.requests(LIST) == [lnrpc.ListInvoiceRequest(num_max_invoices=1, reversed=True)]


async def test_a_macaroon_of_unknown_form_is_tried_both_ways(node: WireLnd, connect: Open) -> None:
    node.says(GET_INFO, DENIED)
    node.says(LIST, lnrpc.ListInvoiceResponse())
    assert (await connect(node.settings(macaroon=Inline(b"of a proxy's own making"))).health()).ready


async def test_a_macaroon_that_may_not_read_invoices_is_not_ready(node: WireLnd, connect: Open) -> None:
    node.says(LIST, DENIED)
    health = await connect(node.settings()).health()
    assert (health.ready, health.detail) == (False, "the macaroon lacks a right for this call")


async def test_an_admin_macaroon_earns_a_warning_that_names_its_rights(node: WireLnd, connect: Open) -> None:
    node.says(GET_INFO, _info())
    admin = bake("invoices:read", "invoices:write", "info:read", "offchain:write", "macaroon:generate")
    backend = connect(node.settings(macaroon=Inline(admin)))
    (warning,) = (await backend.health()).warnings
    assert "(macaroon:generate, offchain:write)" in warning
    assert "bakemacaroon" in warning
    await node.stop()
    assert (await backend.health()).warnings == (warning,)


async def test_health_never_raises(node: WireLnd, connect: Open) -> None:
    for status in set(StatusCode) - {StatusCode.OK}:
        node.says(GET_INFO, Refusal(status, "no such luck"))
        node.says(LIST, Refusal(status, "no such luck"))
        for macaroon in (bake("info:read"), bake("invoices:read")):
            backend = connect(node.settings(macaroon=Inline(macaroon), rpc_timeout_s=1))
            health = await backend.health()
            assert not health.ready
            assert health.detail
    closed = connect(node.settings())
    await closed.aclose()
    assert not (await closed.health()).ready


async def test_no_macaroon_shows_in_errors_or_health(node: WireLnd, connect: Open) -> None:
    macaroon = b"very-secret-macaroon"
    for status in set(StatusCode) - {StatusCode.OK}:
        node.says(ADD, Refusal(status, "no such luck"))
        backend = connect(node.settings(macaroon=Inline(macaroon)))
        with pytest.raises(OutageError) as raised:
            await backend.create_invoice(WANTED)
        shown = repr(raised.value) + repr(await backend.health()) + repr(vars(backend))
        assert not re.search("very-secret|" + macaroon.hex(), shown)
        with contextlib.suppress(OutageError):
            await backend.lookup(bytes(32))


IN_A_PROCESS = """
import asyncio, sys, time
from gateway.errors import OutageError
from gateway.lightning.backend import NewInvoice
from gateway.lightning.lnd import LndBackend
from gateway.lightning.settings import Inline, LndSettings

async def main():
    settings = LndSettings("regtest", sys.argv[1], Inline(sys.stdin.buffer.read()), Inline(b"m"))
    backend = LndBackend(settings, clock=time.time)
    try:
        await backend.create_invoice(NewInvoice(1, 1, ""))
    except OutageError as error:
        print(type(error).__name__)
    await backend.aclose()

asyncio.run(main())
"""


async def test_a_failed_handshake_writes_nothing_to_stderr_by_itself(node: WireLnd) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", IN_A_PROCESS, node.address),
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(trustme.CA().cert_pem.bytes())
    assert (out, err) == (b"NodeRefusedCredentials\n", b"")
