"""The stores that every promise is tested on, and a PostgreSQL to keep one of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.storage.memory import MemoryStore
from gateway.storage.opening import open_store
from gateway.storage.sql_store import SqlStore
from gateway.storage.store import Store
from gateway.storage.upkeep import upgrade
from tests.storage.postgres_server import PostgresServer, Unavailable
from tests.storage.samples import NOW


class Stores:
    """Opens stores that see the same data, and closes them all at the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opened: list[SqlStore] = []

    async def open(self, **settings: float) -> SqlStore:
        store = await open_store(self.url, clock=lambda: NOW, **settings)
        self._opened.append(store)
        return store

    async def aclose(self) -> None:
        for store in self._opened:
            await store.aclose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    try:
        server = PostgresServer.create()
    except Unavailable as reason:
        pytest.skip(str(reason))
    try:
        server.psql("postgres", "CREATE DATABASE migrated TEMPLATE template0")
        with ThreadPoolExecutor(1) as aside:  # this thread may be running an event loop already
            aside.submit(asyncio.run, upgrade(server.url("migrated"))).result()
        server.psql("postgres", "CREATE DATABASE emptied TEMPLATE migrated")
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """A migrated database without a row."""
    postgres.psql("emptied", "TRUNCATE tokens, invoices, backends, revocations RESTART IDENTITY")
    return postgres.url("emptied")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/gateway.db"


@pytest.fixture(params=["sqlite", "postgresql"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stores]:
    """Both SQL databases, through as many stores as the test wants."""
    sqlite = request.param == "sqlite"
    opened = Stores(request.getfixturevalue("sqlite_url" if sqlite else "postgres_url"))
    yield opened
    await opened.aclose()


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Stores]:
    opened = Stores(sqlite_url)
    yield opened
    await opened.aclose()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """Every store that there is."""
    if request.param == "memory":
        yield MemoryStore()
        return
    url = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    opened = await open_store(url, clock=lambda: NOW)
    yield opened
    await opened.aclose()
