"""PostgreSQL: several gateways on one database, and a server that goes away and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.errors import StorageUnavailable
from gateway.storage import operations
from gateway.storage.location import PostgresLocation
from gateway.storage.postgres import postgres_engine
from gateway.storage.store import TokenRecord
from tests.storage.conftest import Stores
from tests.storage.postgres_server import PASSWORD, PostgresServer
from tests.storage.samples import NOW, challenge
from tests.storage.test_sqlite_faults import CALLS, healed


@pytest.fixture
async def stores(postgres_url: str) -> AsyncIterator[Stores]:
    opened = Stores(postgres_url)
    yield opened
    await opened.aclose()


@pytest.fixture
def running_again(postgres: PostgresServer) -> Iterator[None]:
    """However a test leaves the server: the next one finds it running."""
    yield
    if postgres.process is None:
        postgres.start()


async def test_a_restarted_server_is_used_again_without_an_error(stores: Stores, postgres: PostgresServer) -> None:
    store = await stores.open()
    kept = challenge()
    await store.save_challenge(*kept)
    await asyncio.gather(*(store.find_token(kept[0].key) for _ in range(10)))  # ten connections that will be dead
    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(postgres.start)
    saving = [store.save_challenge(*challenge()) for _ in range(10)]
    await asyncio.gather(*saving)
    assert await store.find_token(kept[0].key) == TokenRecord(*kept)
    assert len(await store.pending_invoices("lnd")) == 11


@pytest.mark.usefixtures("running_again")
async def test_without_its_server_every_call_is_an_outage_and_it_heals(
    stores: Stores, postgres: PostgresServer
) -> None:
    store = await stores.open()
    await store.save_challenge(*challenge())
    await asyncio.to_thread(postgres.stop)
    answers = await asyncio.gather(*(call(store) for call in CALLS.values()), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StorageUnavailable] * len(CALLS)
    assert not any(PASSWORD in str(answer) for answer in answers)
    with pytest.raises(StorageUnavailable):
        await Stores(stores.url).open()
    await asyncio.to_thread(postgres.start)
    await healed(lambda: store.save_challenge(*challenge()))


async def test_without_its_tables_every_call_is_an_outage_and_nothing_else(postgres: PostgresServer) -> None:
    stores = Stores(postgres.create_database("migrated"))
    store = await stores.open()
    postgres.psql(stores.url.rpartition("/")[2], "DROP TABLE tokens, invoices, backends, revocations")
    for call in CALLS.values():
        with pytest.raises(StorageUnavailable) as caught:
            await call(store)
        assert caught.value.__suppress_context__
    await stores.aclose()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://gateway:wrong-{p}@127.0.0.1:{port}/migrated", "password"),
        ("postgresql://gateway:{p}@127.0.0.1:{port}/nowhere", "nowhere"),
        ("postgresql://gateway:{p}@127.0.0.1:1/migrated", "Connect|refused"),
        ("postgresql://gateway:{p}@127.0.0.1:{port}/migrated?sslmode=require", "SSL"),
        ("postgresql://gateway:{p}@127.0.0.1:{port}/migrated?sslmode=nonsense", "sslmode"),
    ],
)
async def test_a_server_that_lets_nobody_in_is_an_outage_without_the_password(
    postgres: PostgresServer, url: str, expected: str
) -> None:
    with pytest.raises(StorageUnavailable, match=expected) as caught:
        await Stores(url.format(p=PASSWORD, port=postgres.port)).open()
    assert PASSWORD not in str(caught.value)


async def test_the_urls_parameters_are_libpqs(postgres: PostgresServer, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    url = f"postgres://gateway:{PASSWORD}@/{name}?host={postgres.folder}&port={postgres.port}&application_name=till"
    stores = Stores(url)
    store = await stores.open()
    await store.save_challenge(*challenge())
    found = postgres.psql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'till'")
    assert found.stdout != "0\n"
    await stores.aclose()


async def test_no_revocation_is_stepped_over_however_commits_overlap(stores: Stores) -> None:
    """A cursor drawn early but committed late would hide behind one that a reader has already passed."""
    store = await stores.open()
    (early, early_invoice), (late, late_invoice) = challenge(), challenge()
    await store.save_challenge(early, early_invoice)
    await store.save_challenge(late, late_invoice)
    engine = postgres_engine(PostgresLocation(stores.url, "test"))
    async with engine.connect() as connection:
        assert await connection.run_sync(operations.revoke, early.key, NOW)
        overtaking = asyncio.ensure_future(store.revoke(late.key, now=NOW))
        await asyncio.wait({overtaking}, timeout=0.3)
        seen = list(await store.revocations_after(0))
        await connection.commit()
    await engine.dispose()
    assert await overtaking
    seen += await store.revocations_after(seen[-1].cursor if seen else 0)
    assert [revocation.key for revocation in seen] == [early.key, late.key]


async def test_two_gateways_agree_on_who_settled_first(stores: Stores) -> None:
    first, second = await stores.open(), await stores.open()
    challenges = [challenge() for _ in range(30)]
    await asyncio.gather(*(first.save_challenge(*one) for one in challenges))
    answers = await asyncio.gather(
        *(
            store.record_settlement(
                "lnd", invoice.payment_hash, paid_msat=invoice.amount_msat, settled_at=NOW, settle_index=n
            )
            for n, (_, invoice) in enumerate(challenges, 1)
            for store in (first, second)
        )
    )
    assert answers.count(True) == 30
    assert await second.settle_index("lnd") == 30
    assert await second.pending_invoices("lnd") == []
