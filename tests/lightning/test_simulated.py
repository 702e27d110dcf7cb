"""The simulated node: the common promises, its own, and its faults."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import InvoiceMismatch, NodeNotReady, NodeRefusedRequest, NodeUnreachable, UnknownInvoice
from gateway.l402 import bolt11
from gateway.l402.amounts import MAX_MSAT, Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import NewInvoice
from gateway.lightning.bolt11_signing import recover_payee
from gateway.lightning.checking import check_invoice
from gateway.lightning.settings import SimulatedSettings
from gateway.lightning.simulated import Faults, Receipt, Refusal, SimulatedNode
from tests.lightning.conformance import BackendConformance, eventually, until_seen, watching
from tests.lightning.simulated_bench import SimulatedBench

WANTED = NewInvoice(Msat(1_500), 600, "weather: default")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SimulatedBench]:
    bench = SimulatedBench(tmp_path / "node.db")
    await bench.backend.start()
    yield bench
    await bench.backend.aclose()


class TestConformance(BackendConformance):
    pass


def settings(tmp_path: Path, network: str = "regtest", host: str = "127.0.0.1", port: int = 0) -> SimulatedSettings:
    return SimulatedSettings(network=network, listen=(host, port), data=tmp_path / "node.db")


@pytest.mark.parametrize("network", ["mainnet", "bitcoin", ""])
def test_it_refuses_mainnet_and_networks_that_are_none(tmp_path: Path, network: str) -> None:
    with pytest.raises(ValueError, match="play money"):
        SimulatedNode(settings(tmp_path, network=network))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.com", "", "127.0.0.1.example.com"])
def test_it_refuses_to_listen_where_others_could_pay(tmp_path: Path, host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        SimulatedNode(settings(tmp_path, host=host))


@pytest.mark.parametrize(
    ("network", "prefix"), [("regtest", "lnbcrt15n1"), ("signet", "lntbs15n1"), ("testnet", "lntb15n1")]
)
async def test_its_invoices_are_real_and_signed_by_its_key(tmp_path: Path, network: str, prefix: str) -> None:
    bench = SimulatedBench(tmp_path / "node.db", network)
    await bench.backend.start()
    issued = await bench.backend.create_invoice(WANTED)
    assert issued.bolt11.startswith(prefix)
    assert recover_payee(issued.bolt11) == bench.backend.node_id
    assert bolt11.decode(issued.bolt11).payment_secret is not None
    await bench.backend.aclose()


async def test_it_warns_of_play_money(node: SimulatedBench) -> None:
    assert node.backend.play_money
    assert "play money" in (await node.backend.health()).warnings[0]


async def test_it_is_the_same_node_after_a_restart(node: SimulatedBench) -> None:
    before = node.backend.node_id
    await node.restart()
    assert node.backend.node_id == before


async def test_its_files_are_readable_by_their_owner_only(node: SimulatedBench, tmp_path: Path) -> None:
    await node.backend.create_invoice(WANTED)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"node.db": 0o600, "node.db-wal": 0o600, "node.db-shm": 0o600}


async def test_an_existing_file_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "node.db").touch(0o644)
    bench = SimulatedBench(tmp_path / "node.db")
    await bench.backend.start()
    assert stat.S_IMODE((tmp_path / "node.db").stat().st_mode) == 0o600
    await bench.backend.aclose()


async def test_a_file_of_another_network_is_refused(node: SimulatedBench, tmp_path: Path) -> None:
    with pytest.raises(NodeNotReady, match="is for regtest, not for signet"):
        await SimulatedNode(settings(tmp_path, network="signet")).start()


async def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "node.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(NodeNotReady, match=r"node\.db cannot be used: file is not a database"):
        await SimulatedNode(settings(tmp_path)).start()
    with pytest.raises(NodeNotReady, match=r"node\.db cannot be used.*No such file"):
        await SimulatedNode(settings(tmp_path / "absent")).start()


async def test_a_file_of_a_newer_gateway_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "node.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(NodeNotReady, match="newer gateway"):
        await SimulatedNode(settings(tmp_path)).start()


async def test_a_taken_port_is_a_clear_error(node: SimulatedBench, tmp_path: Path) -> None:
    port = int(node.backend.endpoint.rpartition(":")[2])
    (tmp_path / "other").mkdir()
    second = SimulatedNode(settings(tmp_path / "other", port=port))
    with pytest.raises(NodeNotReady, match=f"cannot listen on 127.0.0.1:{port}.*another address"):
        await second.start()
    assert not (await second.health()).ready
    await second.aclose()


async def test_before_the_start_nothing_works_and_nothing_hangs(tmp_path: Path) -> None:
    node = SimulatedNode(settings(tmp_path))
    assert not (await node.health()).ready
    for call in (node.create_invoice(WANTED), node.lookup(bytes(32))):
        with pytest.raises(NodeUnreachable):
            await call
    with pytest.raises(NodeUnreachable):
        _ = node.endpoint
    await node.aclose()


@pytest.mark.parametrize(("amount", "expiry_s"), [(MAX_MSAT + 1, 600), (1_000, 366 * 86_400)])
async def test_what_lnd_would_refuse_is_refused(node: SimulatedBench, amount: int, expiry_s: int) -> None:
    with pytest.raises(NodeRefusedRequest):
        await node.backend.create_invoice(NewInvoice(Msat(amount), expiry_s, ""))


async def test_no_expiry_is_a_callers_mistake(node: SimulatedBench) -> None:
    with pytest.raises(ValueError):
        await node.backend.create_invoice(NewInvoice(Msat(1_000), 0, ""))


async def test_preimages_come_from_the_given_source(tmp_path: Path) -> None:
    drawn: list[bytes] = []

    def random_bytes(size: int) -> bytes:
        drawn.append(bytes([len(drawn) + 1]) * size)
        return drawn[-1]

    node = SimulatedNode(settings(tmp_path), random_bytes=random_bytes)
    await node.start()
    outcome = await node.pay((await node.create_invoice(WANTED)).bolt11)
    assert isinstance(outcome, Receipt)
    assert outcome.preimage in drawn
    assert outcome.preimage.hex() not in repr(outcome)
    await node.aclose()


async def test_paying_twice_is_paying_once(node: SimulatedBench) -> None:
    issued = await node.backend.create_invoice(WANTED)
    first = await node.backend.pay(issued.bolt11)
    settled = await node.backend.lookup(issued.payment_hash)
    await node.pass_time(1_000)
    assert await node.backend.pay(issued.bolt11) == first
    assert await node.backend.pay(issued.bolt11.upper()) == first
    assert await node.backend.lookup(issued.payment_hash) == settled


async def test_payments_at_the_same_time_settle_each_invoice_once(node: SimulatedBench) -> None:
    issued = [await node.backend.create_invoice(WANTED) for _ in range(20)]
    outcomes = await asyncio.gather(*(node.backend.pay(one.bolt11) for one in issued * 3))
    assert all(isinstance(outcome, Receipt) for outcome in outcomes)
    indices = [(await node.backend.lookup(one.payment_hash)).settle_index for one in issued]
    assert sorted(indices) == list(range(1, 21))


async def test_only_its_own_invoices_can_be_paid(node: SimulatedBench, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = SimulatedBench(tmp_path / "other" / "node.db")
    await other.backend.start()
    foreign = await other.backend.create_invoice(WANTED)
    await other.backend.aclose()
    assert await node.backend.pay(foreign.bolt11) is Refusal.UNKNOWN_INVOICE
    assert await node.backend.pay("lnbcrt1garbage") is Refusal.NOT_AN_INVOICE


async def test_an_expired_invoice_cannot_be_paid_from_the_very_second(node: SimulatedBench) -> None:
    issued = await node.backend.create_invoice(WANTED)
    node.clock.time = bolt11.decode(issued.bolt11).expires_at - 0.01
    paid = await node.backend.create_invoice(WANTED)
    assert isinstance(await node.backend.pay(paid.bolt11), Receipt)
    node.clock.time += 0.01
    assert await node.backend.pay(issued.bolt11) is Refusal.EXPIRED
    assert (await node.backend.lookup(issued.payment_hash)).state is InvoiceState.CANCELED


async def test_an_invoice_nobody_paid_is_forgotten_a_day_after_its_expiry(node: SimulatedBench) -> None:
    unpaid, paid = [await node.backend.create_invoice(WANTED) for _ in range(2)]
    await node.backend.pay(paid.bolt11)
    await node.pass_time(600 + 86_400)
    fresh = await node.backend.create_invoice(WANTED)

    async def forgotten() -> bool:
        try:
            await node.backend.lookup(unpaid.payment_hash)
        except UnknownInvoice:
            return True
        return False

    await eventually(forgotten)
    assert (await node.backend.lookup(paid.payment_hash)).state is InvoiceState.SETTLED
    assert (await node.backend.lookup(fresh.payment_hash)).state is InvoiceState.OPEN


async def test_a_watch_counts_from_its_call_not_from_its_first_step(node: SimulatedBench) -> None:
    watch = node.backend.watch(0)
    issued = await node.backend.create_invoice(WANTED)
    await node.backend.pay(issued.bolt11)
    async with asyncio.timeout(10):
        assert (await anext(watch)).payment_hash == issued.payment_hash


async def test_a_watch_delivers_more_than_one_batch(node: SimulatedBench) -> None:
    issued = [await node.backend.create_invoice(WANTED) for _ in range(600)]
    await asyncio.gather(*(node.backend.pay(one.bolt11) for one in issued))
    first = min([await node.backend.lookup(one.payment_hash) for one in issued], key=lambda status: status.settle_index)
    rest = [one.payment_hash for one in issued if one.payment_hash != first.payment_hash]
    async with watching(node.backend, first.settle_index) as queue:
        seen = await until_seen(queue, rest)
    assert [status.settle_index for status in seen] == list(range(2, 601))


async def test_a_cancelled_call_does_no_harm(node: SimulatedBench) -> None:
    tasks = [asyncio.create_task(node.backend.create_invoice(WANTED)) for _ in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) == 25
    assert (await node.backend.health()).ready


# Faults


async def test_a_node_that_is_down_is_unreachable(node: SimulatedBench) -> None:
    issued = await node.backend.create_invoice(WANTED)
    node.backend.faults = Faults(down=True)
    for call in (
        node.backend.create_invoice(WANTED),
        node.backend.lookup(issued.payment_hash),
        node.backend.pay(issued.bolt11),
    ):
        with pytest.raises(NodeUnreachable):
            await call
    assert not (await node.backend.health()).ready
    node.backend.faults = Faults()
    assert (await node.backend.lookup(issued.payment_hash)).state is InvoiceState.OPEN


@pytest.mark.parametrize("ending", ["down", "close"])
async def test_a_running_watch_ends_with_the_connection(node: SimulatedBench, ending: str) -> None:
    step = asyncio.ensure_future(anext(node.backend.watch(0)))
    await node.backend.health()
    if ending == "down":
        node.backend.faults = Faults(down=True)
    else:
        await node.backend.aclose()
    async with asyncio.timeout(10):
        with pytest.raises(NodeUnreachable):
            await step


async def test_a_slow_node_answers_late(node: SimulatedBench) -> None:
    node.backend.faults = Faults(slow=0.05)
    begun = asyncio.get_running_loop().time()
    await node.backend.create_invoice(WANTED)
    assert asyncio.get_running_loop().time() - begun >= 0.05


async def test_a_node_slower_than_the_deadline_is_unreachable(tmp_path: Path) -> None:
    node = SimulatedNode(settings(tmp_path), rpc_timeout_s=0.2, faults=Faults(slow=3600))
    await node.start()
    with pytest.raises(NodeUnreachable, match=r"no answer in 0\.2 s"):
        await node.create_invoice(WANTED)
    await node.aclose()


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_late_settlement_comes_late_but_comes(node: SimulatedBench, restarted: bool) -> None:
    issued = await node.backend.create_invoice(WANTED)
    node.backend.faults = Faults(settle_late=3_000)
    first = await node.backend.pay(issued.bolt11)
    assert isinstance(first, Receipt)
    await node.pass_time(2_999)  # the invoice's own expiry is over: a payment under way still counts
    assert await node.backend.pay(issued.bolt11) == first
    assert (await node.backend.lookup(issued.payment_hash)).state is InvoiceState.OPEN
    if restarted:
        await node.restart()
    async with watching(node.backend, 0) as queue:
        await node.pass_time(1)
        (settled,) = await until_seen(queue, [issued.payment_hash])
    assert (settled.settled_at, settled.settle_index) == (node.now(), 1)


async def test_a_withheld_preimage_is_paid_for_all_the_same(node: SimulatedBench) -> None:
    issued = await node.backend.create_invoice(WANTED)
    node.backend.faults = Faults(withhold_preimage=True)
    assert await node.backend.pay(issued.bolt11) is Refusal.WITHHELD
    assert await node.backend.pay("lnbcrt1garbage") is Refusal.NOT_AN_INVOICE
    assert (await node.backend.lookup(issued.payment_hash)).state is InvoiceState.SETTLED
    node.backend.faults = Faults()
    assert isinstance(await node.backend.pay(issued.bolt11), Receipt)


@pytest.mark.parametrize(
    ("fault", "message"),
    [(Faults(wrong_amount=True), "1501 msat instead of 1500"), (Faults(wrong_hash=True), "payment hash")],
)
async def test_a_wrong_invoice_fails_the_check_and_cannot_be_paid(
    node: SimulatedBench, fault: Faults, message: str
) -> None:
    node.backend.faults = fault
    issued = await node.backend.create_invoice(WANTED)
    with pytest.raises(InvoiceMismatch, match=message):
        check_invoice(issued, WANTED, network="regtest", now=node.now())
    assert await node.backend.pay(issued.bolt11) is Refusal.UNKNOWN_INVOICE


@pytest.mark.parametrize("delay", [-1.0, 3_601.0, float("nan"), float("inf")])
def test_a_delay_has_bounds(delay: float) -> None:
    for name in ("slow", "settle_late"):
        with pytest.raises(ValueError):
            Faults(**{name: delay})  # type: ignore[arg-type]
