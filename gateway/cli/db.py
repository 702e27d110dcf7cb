"""``gateway db``: bring the database's schema up to date, and look at it.

Exit codes: 0 done, 2 the configuration is wrong, 3 the database is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.cli.exits import EXIT_CONFIG, fail, settings_of

if TYPE_CHECKING:
    from gateway.storage.location import Location

T = TypeVar("T")

EXIT_DATABASE = 3
CONFIG = click.argument("config", type=click.Path(path_type=Path))


@click.group()
def db() -> None:
    """Look after the database that holds the tokens."""


@db.command(short_help="Bring the schema up to date.")
@CONFIG
def upgrade(config: Path) -> None:
    """Bring the schema up to date. SQLite does this by itself when the gateway starts.

    \b
    Exit codes: 0 it is up to date now, 2 the configuration is wrong, 3 the database cannot be used.
    """
    from gateway.storage.upkeep import upgrade as upgrade_database

    before, after = _run(config, upgrade_database)
    click.echo(f"schema {after}: nothing to do" if before == after else f"schema {before or 'none'} -> {after}")


@db.command(short_help="Say where the database is and what is in it.")
@CONFIG
def status(config: Path) -> None:
    """Say where the database is, which schema it has and how many rows; changes nothing.

    \b
    Exit codes: 0 said, 2 the configuration is wrong, 3 the database cannot be used, or is not there yet.
    """
    from gateway.storage.upkeep import describe

    found = _run(config, describe)
    click.echo(f"database  {found.location}")
    click.echo(f"schema    {found.revision or 'none'} ({found.standing.value})")
    for table, count in found.rows.items():
        click.echo(f"{table:<12}{count:>12} rows")


def _run(config: Path, action: Callable[[str], Coroutine[Any, Any, T]]) -> T:
    from gateway.errors import OutageError
    from gateway.storage.location import parse_location

    url = settings_of(config).storage_url
    try:
        return asyncio.run(action(url))
    except ValueError as error:
        fail(EXIT_CONFIG, str(error))
    except OutageError as error:
        location = parse_location(url)  # shows no password
        fail(EXIT_DATABASE, f"{location}: {error}{_not_there_yet(location)}")


def _not_there_yet(location: Location) -> str:
    from gateway.storage.location import SqliteLocation

    if not isinstance(location, SqliteLocation) or location.path.exists():
        return ""
    if not location.path.parent.is_dir():
        return f" (there is no folder {location.path.parent})"
    return f" (there is no file {location.path} yet; gateway serve makes it)"
