"""One data file, several processes: what was acknowledged outlives kill -9, and each sees what the others settle."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.l402 import bolt11
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import NewInvoice
from gateway.lightning.settings import SimulatedSettings
from gateway.lightning.simulated import Receipt, Refusal, SimulatedNode
from tests.lightning.conformance import until_seen, watching

ROOT = Path(__file__).parents[2]
OPENER = """
import secrets, sys
from pathlib import Path
from gateway.lightning.simulated.ledger import Ledger

print("ready", flush=True)
for name in sys.stdin:
    ledger = Ledger(Path(name.strip()))
    with ledger.transaction():
        key = ledger.node_key("regtest", secrets.token_bytes(32))
    print(key.hex(), flush=True)
    ledger.close()
"""


@asynccontextmanager
async def process(data: Path, *commands: str) -> AsyncIterator[asyncio.StreamReader]:
    """The lines that the process prints; it is killed (SIGKILL) at the end."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.lightning.simulated_process",
        str(data),
        *commands,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        yield child.stdout
    finally:
        child.kill()
        await child.wait()


async def line(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(30):
        return (await reader.readline()).decode().strip()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[SimulatedNode]:
    node = SimulatedNode(SimulatedSettings("regtest", ("127.0.0.1", 0), tmp_path / "node.db"))
    yield node
    await node.aclose()


async def test_what_was_acknowledged_outlives_kill_9(node: SimulatedNode, tmp_path: Path) -> None:
    async with process(tmp_path / "node.db", "issue", "issue") as lines:
        started, unpaid, paid = [await line(lines) for _ in range(3)]
    async with process(tmp_path / "node.db", paid) as lines:
        assert [await line(lines), await line(lines)] == [started, "paid"]
    await node.start()
    assert started == f"started {node.node_id.hex()}"
    settled = await node.lookup(bolt11.decode(paid).payment_hash)
    assert (settled.state, settled.settle_index) == (InvoiceState.SETTLED, 1)
    assert isinstance(await node.pay(unpaid), Receipt)
    assert (await node.lookup(bolt11.decode(unpaid).payment_hash)).settle_index == 2


async def test_a_payment_in_one_process_is_seen_by_the_watch_of_another(node: SimulatedNode, tmp_path: Path) -> None:
    await node.start()
    issued = await node.create_invoice(NewInvoice(Msat(1_500), 600, "x"))
    async with watching(node, 0) as queue, process(tmp_path / "node.db", issued.bolt11) as lines:
        assert await line(lines) == f"started {node.node_id.hex()}"
        (seen,) = await until_seen(queue, [issued.payment_hash])
    assert seen == await node.lookup(issued.payment_hash)


async def test_nodes_on_one_file_settle_each_payment_once_and_number_them_all(tmp_path: Path) -> None:
    settings = SimulatedSettings("regtest", ("127.0.0.1", 0), tmp_path / "node.db")
    one, other = SimulatedNode(settings), SimulatedNode(settings)
    await one.start()
    await other.start()
    issued = [await one.create_invoice(NewInvoice(Msat(1_500), 600, "x")) for _ in range(100)]

    async def pay_all(node: SimulatedNode) -> list[Receipt | Refusal]:
        return [await node.pay(invoice.bolt11) for invoice in issued]

    receipts, same = await asyncio.gather(pay_all(one), pay_all(other))
    assert receipts == same
    assert all(isinstance(receipt, Receipt) for receipt in receipts)
    indices = [(await other.lookup(invoice.payment_hash)).settle_index for invoice in issued]
    assert sorted(indices) == list(range(1, 101))
    await one.aclose()
    await other.aclose()


async def test_processes_that_start_together_on_a_new_file_are_one_node(tmp_path: Path) -> None:
    async with opener() as one, opener() as two, opener() as three:
        for attempt in range(25):
            for child in (one, two, three):
                assert child.stdin is not None
                child.stdin.write(f"{tmp_path / str(attempt)}\n".encode())
            keys = {await line(child.stdout) for child in (one, two, three) if child.stdout is not None}
            assert len(keys) == 1
            assert len(bytes.fromhex(keys.pop())) == 32


@asynccontextmanager
async def opener() -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that opens each file whose name it reads, and answers with the node's key in it."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OPENER,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        assert await line(child.stdout) == "ready"
        yield child
    finally:
        child.kill()
        await child.communicate()
