"""What the operator does to a database from the command line: bring its schema up to date, look at it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy import Connection, func, inspect, select

from gateway.storage.faults import translated
from gateway.storage.location import Location, PostgresLocation, parse_location
from gateway.storage.migrating import Standing, migrate_postgres, migrate_sqlite, standing, stored_revision
from gateway.storage.opening import BUSY_TIMEOUT_S, postgres_module
from gateway.storage.schema import metadata
from gateway.storage.sqlite import sqlite_engine
from gateway.storage.sqlite_file import check_whole, prepare_file


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """``location`` holds no password. ``revision`` is None and ``rows`` empty where no migration ever ran."""

    location: str
    revision: str | None
    standing: Standing
    rows: dict[str, int]


async def upgrade(url: str) -> tuple[str | None, str]:
    """Migrate the database at ``url``, creating a SQLite file if need be; the revision before and after.

    Several may run at once. Raises ``ValueError`` (the URL), ``StorageUnavailable`` and ``SchemaMismatch``.
    """
    location = parse_location(url)
    return await asyncio.to_thread(_upgrade, location)


async def describe(url: str) -> DatabaseStatus:
    """Look, change nothing. Raises ``ValueError`` (the URL) and ``StorageUnavailable`` (no such file or server)."""
    location = parse_location(url)
    return await asyncio.to_thread(_describe, location)


def _upgrade(location: Location) -> tuple[str | None, str]:
    if isinstance(location, PostgresLocation):
        return asyncio.run(_upgrade_postgres(location))
    prepare_file(location.path)
    check_whole(location.path)
    with translated(), sqlite_engine(location.path, BUSY_TIMEOUT_S).connect() as connection:
        before = stored_revision(connection)
        migrate_sqlite(connection)
        return before, stored_revision(connection) or ""


async def _upgrade_postgres(location: PostgresLocation) -> tuple[str | None, str]:
    """In an event loop of its own thread, because Alembic blocks; without a deadline, because tables may be large."""
    module = postgres_module()
    engine = module.postgres_engine(location, command_timeout_s=None)
    try:
        with translated(*module.FOREIGN):
            async with engine.begin() as connection:
                before = await connection.run_sync(stored_revision)
                await connection.run_sync(migrate_postgres)
                return before, await connection.run_sync(stored_revision)
    finally:
        await engine.dispose()


def _describe(location: Location) -> DatabaseStatus:
    if isinstance(location, PostgresLocation):
        return asyncio.run(_describe_postgres(location))
    with translated(), sqlite_engine(location.path, BUSY_TIMEOUT_S).connect() as connection:
        return _status(connection, location)


async def _describe_postgres(location: PostgresLocation) -> DatabaseStatus:
    module = postgres_module()
    engine = module.postgres_engine(location)
    try:
        with translated(*module.FOREIGN):
            async with engine.connect() as connection:
                status: DatabaseStatus = await connection.run_sync(_status, location)
                return status
    finally:
        await engine.dispose()


def _status(connection: Connection, location: Location) -> DatabaseStatus:
    revision = stored_revision(connection)
    there = set(inspect(connection).get_table_names())
    tables = [table for table in metadata.sorted_tables if table.name in there]
    counts = {t.name: connection.execute(select(func.count()).select_from(t)).scalar_one() for t in tables}
    return DatabaseStatus(str(location), revision, standing(revision), dict(sorted(counts.items())))
