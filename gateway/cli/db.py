"""``gateway db``: bring the database's schema up to date, and look at it.

Exit codes: 0 done, 2 the configuration is wrong, 3 the database is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

T = TypeVar("T")

CONFIG_ERROR = 2
DATABASE_ERROR = 3
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
    from gateway.errors import ConfigError, OutageError

    url = ""
    try:
        url = _storage_url(config)
        return asyncio.run(action(url))
    except (ConfigError, ValueError) as error:
        _fail(str(error), CONFIG_ERROR)
    except OutageError as error:
        _fail(f"{_location(url)}: {error}{_not_there_yet(url)}", DATABASE_ERROR)


def _location(url: str) -> str:
    from gateway.storage.location import parse_location

    return str(parse_location(url))  # without the password


def _not_there_yet(url: str) -> str:
    from gateway.storage.location import SqliteLocation, parse_location

    location = parse_location(url)
    if not isinstance(location, SqliteLocation) or location.path.exists():
        return ""
    if not location.path.parent.is_dir():
        return f" (there is no folder {location.path.parent})"
    return f" (there is no file {location.path} yet; gateway serve makes it)"


def _storage_url(config: Path) -> str:
    from gateway.config import load_settings

    return load_settings(config, os.environ).storage_url


def _fail(message: str, code: int) -> NoReturn:
    click.echo(message, err=True)
    raise SystemExit(code)
