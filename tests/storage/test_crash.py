"""A gateway killed at any moment: whatever it acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from gateway.l402.invoice_state import InvoiceState
from tests.conftest import SCALE
from tests.storage.conftest import Stores
from tests.storage.samples import NOW, challenge

KILLS = max(2, int(10 * SCALE))
PROCESSES = 2
ROOT = Path(__file__).parents[2]

Acknowledged = dict[str, set[int]]


async def killed_writer(url: str, first: int, kill_after: int, acknowledged: Acknowledged) -> None:
    """Kill -9 at the very moment that a row is acknowledged, with seven other writes under way."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.storage.writing_process", url, str(first), stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    count = 0
    while line := await process.stdout.readline():
        if not line.endswith(b"\n"):
            break
        what, number = line.decode().split()
        acknowledged[what].add(int(number))
        count += 1
        if count == kill_after:
            process.kill()
    await process.wait()
    assert count >= kill_after


async def test_nothing_acknowledged_is_lost_by_kill_9(sqlite: Stores, tmp_path: Path) -> None:
    moments = random.Random(8402)
    acknowledged: Acknowledged = {"saved": set(), "settled": set(), "revoked": set()}
    for start in range(0, KILLS, PROCESSES):
        await asyncio.gather(
            *(
                killed_writer(sqlite.url, (start + n + 1) * 100_000, moments.randint(1, 120), acknowledged)
                for n in range(PROCESSES)
            )
        )
        with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
            assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    await assert_all_there(sqlite, acknowledged)


async def assert_all_there(sqlite: Stores, acknowledged: Acknowledged) -> None:
    store = await sqlite.open()
    revoked = {revocation.key for revocation in await store.revocations_after(0, limit=100_000)}
    assert len(acknowledged["saved"]) >= KILLS
    for number in acknowledged["saved"]:
        token, invoice = challenge(number)
        record = await store.find_token(token.key)
        assert record is not None, number
        assert record.invoice.bolt11 == invoice.bolt11
        assert record.token.root_key in (token.root_key, None)
        if number in acknowledged["settled"]:
            assert (record.invoice.state, record.invoice.paid_msat) == (InvoiceState.SETTLED, number)
        if number in acknowledged["revoked"]:
            assert (record.token.root_key, record.token.revoked_at) == (None, NOW)
            assert token.key in revoked
    assert await store.settle_index("lnd") >= max(acknowledged["settled"], default=0)
