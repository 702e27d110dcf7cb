"""The writer: waits together, commits together, answers after the commit, and is bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from gateway.errors import StorageUnavailable
from gateway.storage.group_commit import GroupCommit
from gateway.storage.sqlite import writing_engine
from gateway.storage.sqlite_file import prepare_file
from tests.storage.conftest import Stores


class CountedFile:
    """A file with one table that counts the writer's transactions."""

    def __init__(self, path: Path) -> None:
        prepare_file(path)
        self._engine = writing_engine(path, 1.0)
        self.commits = 0
        self.threads: set[int] = set()
        with self._engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
            connection.commit()

    def ensure_ready(self) -> int:
        self.commits += 1
        self.threads.add(threading.get_ident())
        return 0

    def connect(self) -> Connection:
        return self._engine.connect()

    def numbers(self) -> list[int]:
        with self._engine.connect() as connection:
            return list(connection.execute(text("SELECT number FROM numbers ORDER BY 1")).scalars())


@pytest.fixture
def file(tmp_path: Path) -> CountedFile:
    return CountedFile(tmp_path / "x.db")


@pytest.fixture
async def writer(file: CountedFile) -> AsyncIterator[GroupCommit]:
    writer = GroupCommit(file, deadline_s=10)
    yield writer
    await writer.aclose()


class Held:
    """An operation that keeps the writer inside its transaction until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._go = threading.Event()

    def __call__(self, _: Connection) -> None:
        self.entered.set()
        assert self._go.wait(10)

    def let_go(self) -> None:
        self._go.set()


def insert(number: int) -> Callable[[Connection], int]:
    def operation(connection: Connection) -> int:
        connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})
        return number

    return operation


async def test_what_waits_during_a_commit_is_committed_together(file: CountedFile, writer: GroupCommit) -> None:
    held = Held()
    first = asyncio.ensure_future(writer.run(held))
    await asyncio.to_thread(held.entered.wait)
    waiting = [asyncio.ensure_future(writer.run(insert(number))) for number in range(100)]
    await asyncio.sleep(0)
    assert not any(write.done() for write in waiting)
    held.let_go()
    await first
    assert await asyncio.gather(*waiting) == list(range(100))
    assert file.commits == 2
    assert len(file.threads) == 1
    assert file.numbers() == list(range(100))


async def test_an_answer_means_that_others_can_read_it(file: CountedFile, writer: GroupCommit) -> None:
    for number in range(20):
        await writer.run(insert(number))
        assert number in file.numbers()


async def test_one_bad_write_fails_alone(file: CountedFile, writer: GroupCommit) -> None:
    await writer.run(insert(7))
    answers = await asyncio.gather(*(writer.run(insert(number)) for number in range(15)), return_exceptions=True)
    assert isinstance(answers[7], StorageUnavailable)
    assert [*answers[:7], *answers[8:]] == [*range(7), *range(8, 15)]
    assert file.numbers() == list(range(15))


async def test_the_queue_is_bounded(file: CountedFile) -> None:
    writer = GroupCommit(file, deadline_s=10, max_waiting=300)
    held = Held()
    first = asyncio.ensure_future(writer.run(held))
    await asyncio.to_thread(held.entered.wait)
    waiting = [asyncio.ensure_future(writer.run(insert(number))) for number in range(300)]
    await asyncio.sleep(0)
    with pytest.raises(StorageUnavailable, match="too many"):
        await writer.run(insert(-1))
    held.let_go()
    await asyncio.gather(first, *waiting)
    assert len(file.numbers()) == 300
    await writer.aclose()


async def test_a_commit_that_takes_too_long_is_an_outage(file: CountedFile) -> None:
    writer = GroupCommit(file, deadline_s=0.05)
    held = Held()
    with pytest.raises(StorageUnavailable, match="within"):
        await writer.run(held)
    held.let_go()
    await writer.aclose()


async def test_reading_is_bounded_too(sqlite: Stores) -> None:
    store = await sqlite.open()
    answers = await asyncio.gather(*(store.settle_index("lnd") for _ in range(1_500)), return_exceptions=True)
    refused = [answer for answer in answers if answer != 0]
    assert refused
    assert all(isinstance(answer, StorageUnavailable) for answer in refused)
    assert await store.settle_index("lnd") == 0
