"""From a storage URL to an open store."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

from gateway.errors import StorageUnavailable
from gateway.storage.location import Location, SqliteLocation, parse_location
from gateway.storage.sql_store import SqlStore
from gateway.storage.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from gateway.storage.postgres import PostgresDatabase

BUSY_TIMEOUT_S = 5.0


async def open_store(url: str, *, clock: Callable[[], float], busy_timeout_s: float = BUSY_TIMEOUT_S) -> SqlStore:
    """Open the database at ``url`` (see ``parse_location``); ``clock`` gives Unix seconds.

    A SQLite file is created (mode 0600) and migrated here. Any other database must have been migrated by
    ``gateway db upgrade``. ``busy_timeout_s`` is how long a write waits for another process's lock on a SQLite file.
    The store's ``warnings`` belong in the log.

    Raises ``ValueError`` (the URL), ``StorageUnavailable`` and ``SchemaMismatch``.
    """
    location = parse_location(url)
    database = _database(location, busy_timeout_s)
    try:
        warnings = await database.start()
    except StorageUnavailable as error:
        await database.aclose()
        raise StorageUnavailable(f"{location}: {error}") from None
    except BaseException:
        await database.aclose()
        raise
    return SqlStore(database, clock=clock, warnings=warnings)


def _database(location: Location, busy_timeout_s: float) -> SqliteDatabase | PostgresDatabase:
    if isinstance(location, SqliteLocation):
        return SqliteDatabase(location.path, busy_timeout_s=busy_timeout_s)
    database: PostgresDatabase = postgres_module().PostgresDatabase(location)
    return database


def postgres_module() -> ModuleType:
    """Imported late: asyncpg is an extra that most gateways do not need. Raises ``StorageUnavailable`` without it."""
    try:
        return importlib.import_module("gateway.storage.postgres")
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
    raise StorageUnavailable("PostgreSQL needs one more package: pip install 'l402-gateway[postgres]'")
