"""The database out of order: nobody gets in, nobody who paid is turned away, and it heals without a restart."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from tests.server.rig import Rig

TODAY = "/weather/today"


def database(rig: Rig) -> Path:
    return rig.config.parent / "gateway.db"


async def test_a_locked_database_stops_new_sales_with_503_and_no_paid_request(rig: Rig) -> None:
    cached = {"Authorization": await rig.buy(TODAY)}
    fresh = {"Authorization": await rig.buy(TODAY)}
    assert (await rig.get(TODAY, headers=cached))[0] == 200
    with closing(sqlite3.connect(database(rig), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        waiting = asyncio.create_task(rig.get(TODAY))
        assert (await rig.get(TODAY, headers=cached))[0] == 200
        assert time.monotonic() - began < 2
        assert (await rig.get(TODAY, headers=fresh))[0] == 200
        status, headers, body = await waiting
        assert (status, json.loads(body)) == (503, {"error": "storage_unavailable"})
        assert headers["Retry-After"] == "5"
        assert "WWW-Authenticate" not in headers
        made = await rig.get(TODAY)
        assert made[0] == 503
        other.execute("ROLLBACK")
    async with asyncio.timeout(20):
        while (await rig.get(TODAY))[0] != 402:
            await asyncio.sleep(0.1)


async def test_a_token_that_cannot_be_looked_up_is_503_and_never_402_or_through(rig: Rig) -> None:
    paid = {"Authorization": await rig.buy(TODAY)}
    with closing(sqlite3.connect(database(rig), isolation_level=None)) as other:
        other.execute("ALTER TABLE tokens RENAME TO gone")
        status, _, body = await rig.get(TODAY, headers=paid)
        assert (status, json.loads(body)) == (503, {"error": "storage_unavailable"})
        assert rig.upstream.seen == []
        other.execute("ALTER TABLE gone RENAME TO tokens")
    async with asyncio.timeout(20):
        while (outcome := await rig.get(TODAY, headers=paid))[0] != 200:
            assert outcome[0] == 503
            await asyncio.sleep(0.1)


async def test_a_failing_database_leaves_no_heap_of_invoices_in_the_node(rig: Rig) -> None:
    with closing(sqlite3.connect(database(rig), isolation_level=None)) as other:
        other.execute("ALTER TABLE tokens RENAME TO gone")
        answers = [(await rig.get(TODAY))[0] for _ in range(20)]
        other.execute("ALTER TABLE gone RENAME TO tokens")
    assert answers == [503] * 20
    with closing(sqlite3.connect(rig.config.parent / "simulated-node.db")) as node:
        tables = [name for (name,) in node.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        made = max(node.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables)
    assert made <= 3
