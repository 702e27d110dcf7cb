"""Which schema a database has, which one this gateway needs, and the way from the one to the other.

Alembic is imported only when there is something to migrate: it costs 0.3 s at every start otherwise.
"""

from __future__ import annotations

import threading
from enum import Enum
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from gateway.errors import SchemaMismatch
from gateway.storage.faults import translated

REVISIONS = ("0001",)
"""Every revision in ``migrations/versions``, oldest first; the last one is what this code reads and writes."""
NEEDED = REVISIONS[-1]

_VERSION_TABLE = "alembic_version"
_ALEMBIC = threading.Lock()
"""Alembic keeps its context in module globals."""
_PG_LOCK = 4_020_402
"""Any number of our own: two processes that upgrade one PostgreSQL database take turns."""


class Standing(Enum):
    """A database's schema beside ours."""

    EMPTY = "empty"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"


def stored_revision(connection: Connection) -> str | None:
    """The revision that the database says it has; None when no migration ever ran there."""
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return revision


def standing(revision: str | None) -> Standing:
    """A revision that we have never heard of was made by a newer gateway."""
    if revision is None:
        return Standing.EMPTY
    if revision == NEEDED:
        return Standing.CURRENT
    return Standing.OLDER if revision in REVISIONS else Standing.NEWER


def require_current(revision: str | None) -> None:
    """Raises ``SchemaMismatch`` with what to do about it."""
    match standing(revision):
        case Standing.NEWER:
            raise newer(revision)
        case Standing.EMPTY | Standing.OLDER:
            has = revision or "none"
            raise SchemaMismatch(
                f"the database has schema {has}, this gateway needs {NEEDED}; run: gateway db upgrade CONFIG"
            )


def newer(revision: str | None) -> SchemaMismatch:
    """A schema from the future is never touched."""
    return SchemaMismatch(
        f"the database has schema {revision}, which a newer gateway made; this one knows {NEEDED}: update the gateway"
    )


def migrate(connection: Connection) -> None:
    """Bring the schema to ``NEEDED`` inside the caller's transaction; the caller commits.

    The caller holds a lock that keeps every other migrating process away. Raises ``SchemaMismatch`` for a newer schema.
    """
    found = standing(stored_revision(connection))
    if found is Standing.NEWER:
        raise newer(stored_revision(connection))
    if found is not Standing.CURRENT:
        _run_alembic(connection)


def migrate_postgres(connection: Connection) -> None:
    """``migrate`` for one of several processes at once."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:ours)"), {"ours": _PG_LOCK})
    migrate(connection)


def migrate_sqlite(connection: Connection) -> None:
    """Switch the file to write-ahead logging and migrate it, if either is needed; commits.

    ``connection`` is one whose driver begins no transaction by itself: this begins one that locks before it looks.
    """
    if connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() != "wal":
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    if standing(stored_revision(connection)) is Standing.CURRENT:
        connection.commit()
        return
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    if stored_revision(connection) is None and inspect(connection).get_table_names():
        raise SchemaMismatch("the database file belongs to another program: its tables are not this gateway's")
    migrate(connection)
    connection.commit()


def migrations_folder() -> Path:
    """``migrations`` beside this file in an installed wheel, at the top of the repository in a checkout."""
    installed = Path(__file__).parent / "migrations"
    return installed if (installed / "env.py").is_file() else Path(__file__).parents[2] / "migrations"


def _run_alembic(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  (0.3 s, and seldom needed)
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _ALEMBIC, translated(CommandError):
        command.upgrade(config, NEEDED)
