"""The schema: migrations and tables agree, every start finds what it needs, and the future is left alone."""

from __future__ import annotations

import ast
import asyncio
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.dialects import registry
from sqlalchemy.engine import Dialect

from gateway.errors import SchemaMismatch
from gateway.storage.location import PostgresLocation
from gateway.storage.migrating import NEEDED, REVISIONS, Standing, migrations_folder, standing, stored_revision
from gateway.storage.postgres import postgres_engine
from gateway.storage.schema import metadata
from gateway.storage.upkeep import describe, upgrade
from tests.storage.conftest import Stores
from tests.storage.postgres_server import PASSWORD, PostgresServer
from tests.storage.samples import challenge

ROOT = Path(__file__).parents[2]


def differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


def catalogue(connection: Connection) -> list[tuple[str, str]]:
    """Every table, index and constraint as PostgreSQL itself describes it."""
    constraints = (
        "SELECT conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace"
    )
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    columns = (
        "SELECT table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, column_default) "
        "FROM information_schema.columns WHERE table_schema = 'public'"
    )
    rows = [tuple(row) for sql in (constraints, indexes, columns) for row in connection.execute(text(sql))]
    return sorted(row for row in rows if "alembic_version" not in row[0])


async def in_postgres(url: str, operation: Any) -> Any:
    engine = postgres_engine(PostgresLocation(url, "test"))
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(operation)
    finally:
        await engine.dispose()


async def test_migrations_and_tables_agree_on_sqlite(sqlite_url: str, tmp_path: Path) -> None:
    await upgrade(sqlite_url)
    engine = create_engine(sqlite_url)
    with engine.connect() as connection:
        assert differences(connection) == []
    engine.dispose()


async def test_migrations_and_tables_make_the_very_same_sqlite_file(sqlite_url: str, tmp_path: Path) -> None:
    await upgrade(sqlite_url)
    engine = create_engine(f"sqlite:///{tmp_path}/tables.db")
    metadata.create_all(engine)
    engine.dispose()

    def described(path: Path) -> dict[str, set[str]]:
        """By name: the parts of the statement, in whatever order a CREATE TABLE gives its constraints."""
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%'").fetchall()
        return {name: {re.sub(r"\s+", " ", part).strip(" ,") for part in (sql or "").split("\n")} for name, sql in rows}

    assert described(tmp_path / "gateway.db") == described(tmp_path / "tables.db")


async def test_migrations_and_tables_agree_on_postgresql(postgres: PostgresServer, postgres_url: str) -> None:
    assert await in_postgres(postgres_url, differences) == []
    tables_only = postgres.create_database()
    await in_postgres(tables_only, metadata.create_all)
    assert await in_postgres(postgres_url, catalogue) == await in_postgres(tables_only, catalogue)


def test_the_code_knows_every_revision_in_the_folder_in_order() -> None:
    links = {}
    for file in (migrations_folder() / "versions").glob("*.py"):
        names = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.parse(file.read_text()).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        links[names["down_revision"]] = names["revision"]
    chain: list[str] = []
    while (following := links.get(chain[-1] if chain else None)) is not None:
        chain.append(following)
    assert tuple(chain) == REVISIONS
    assert len(links) == len(REVISIONS)


@pytest.mark.parametrize(
    ("revision", "expected"),
    [(None, Standing.EMPTY), (NEEDED, Standing.CURRENT), ("9999", Standing.NEWER), ("", Standing.NEWER)],
)
def test_an_unknown_revision_is_from_the_future(revision: str | None, expected: Standing) -> None:
    assert standing(revision) is expected


async def test_a_new_sqlite_file_is_migrated_when_it_is_opened(sqlite: Stores) -> None:
    store = await sqlite.open()
    assert await store._database.read(stored_revision) == NEEDED


async def test_a_newer_sqlite_file_is_refused_and_left_alone(sqlite: Stores, tmp_path: Path) -> None:
    await (await sqlite.open()).aclose()
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(SchemaMismatch, match=r"9999.*newer gateway"):
        await sqlite.open()
    with pytest.raises(SchemaMismatch, match=r"9999.*newer gateway"):
        await upgrade(sqlite.url)
    assert (await describe(sqlite.url)).revision == "9999"


async def test_an_empty_postgresql_database_is_refused_with_the_command_that_helps(postgres: PostgresServer) -> None:
    stores = Stores(postgres.create_database())
    with pytest.raises(SchemaMismatch, match="run: gateway db upgrade CONFIG"):
        await stores.open()
    assert await upgrade(stores.url) == (None, NEEDED)
    assert await upgrade(stores.url) == (NEEDED, NEEDED)
    await stores.open()
    await stores.aclose()


def write_from_the_future(connection: Connection) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))


async def test_a_newer_postgresql_database_is_refused(postgres: PostgresServer) -> None:
    url = postgres.create_database("migrated")
    await in_postgres(url, write_from_the_future)
    with pytest.raises(SchemaMismatch, match="newer gateway"):
        await Stores(url).open()
    with pytest.raises(SchemaMismatch, match="newer gateway"):
        await upgrade(url)


async def test_many_upgrades_of_one_postgresql_database_at_once_all_succeed(postgres: PostgresServer) -> None:
    url = postgres.create_database()
    answers = await asyncio.gather(*(upgrade(url) for _ in range(4)))
    assert {after for _, after in answers} == {NEEDED}


async def test_many_stores_may_open_one_new_sqlite_file_at_once(sqlite: Stores) -> None:
    stores = await asyncio.gather(*(sqlite.open() for _ in range(8)))
    for store in stores:
        await store.save_challenge(*challenge())
    assert len(await stores[0].pending_invoices("lnd")) == 8


async def test_two_processes_may_open_one_new_sqlite_file_at_once(sqlite: Stores) -> None:
    script = "import asyncio, sys, time; from gateway.storage.opening import open_store; sys.stdin.read(); "
    script += "asyncio.run(asyncio.wait_for(open_store(sys.argv[1], clock=time.time), 20)).warnings"
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, sqlite.url, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
        )
        for _ in range(3)
    ]
    answers = await asyncio.gather(*(process.communicate(b"") for process in processes))
    assert [process.returncode for process in processes] == [0] * 3, answers


async def test_an_installed_wheel_finds_the_migrations_inside_itself(sqlite: Stores, tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    shutil.copytree(ROOT / "gateway", installed / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "migrations", installed / "gateway" / "storage" / "migrations")
    script = "import asyncio, sys; from gateway.storage import migrating, upkeep; "
    script += "print(migrating.migrations_folder(), *asyncio.run(upkeep.upgrade(sys.argv[1])))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, sqlite.url, stdout=subprocess.PIPE, cwd=installed
    )
    answer = (await process.communicate())[0].decode()
    assert answer == f"{installed}/gateway/storage/migrations None {NEEDED}\n"


async def test_a_current_database_is_opened_without_importing_alembic(sqlite: Stores) -> None:
    await (await sqlite.open()).aclose()
    script = "import asyncio, sys, time; from gateway.storage.opening import open_store; "
    script += "asyncio.run(open_store(sys.argv[1], clock=time.time)); print('alembic' in sys.modules)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, sqlite.url, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert (await process.communicate())[0] == b"False\n"


async def test_the_status_counts_rows_and_shows_no_password(stores: Stores) -> None:
    store = await stores.open()
    for _ in range(3):
        await store.save_challenge(*challenge())
    status = await describe(stores.url)
    assert status.rows == {"backends": 0, "invoices": 3, "revocations": 0, "tokens": 3}
    assert (status.revision, status.standing) == (NEEDED, Standing.CURRENT)
    assert PASSWORD not in repr(status)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_every_money_column_is_a_whole_number_of_64_bits(dialect: str) -> None:
    spoken: Dialect = registry.load(dialect)()
    columns = [column for table in metadata.tables.values() for column in table.columns]
    money = {str(column): column.type.compile(spoken) for column in columns if column.name.endswith("_msat")}
    assert set(money.values()) == {"BIGINT"}
    assert len(money) == 3
