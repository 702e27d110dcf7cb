"""``gateway db``: what it prints, and the exit code that a script can rely on."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.db import db
from gateway.storage.migrating import NEEDED
from tests.storage.postgres_server import PASSWORD, PostgresServer

CONFIG = """\
storage: {storage}
lightning:
  backend: simulated
services:
  - name: weather
    upstream: http://127.0.0.1:9000
    price: 10 sat
"""


def run(tmp_path: Path, command: str, storage: str) -> Result:
    config = tmp_path / "gateway.yaml"
    config.write_text(CONFIG.format(storage=storage))
    result = CliRunner().invoke(db, [command, str(config)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def test_upgrade_makes_a_private_sqlite_file_and_then_has_nothing_to_do(tmp_path: Path) -> None:
    result = run(tmp_path, "upgrade", "sqlite:///./gateway.db")
    assert (result.exit_code, result.stdout) == (0, f"schema none -> {NEEDED}\n")
    assert stat.S_IMODE((tmp_path / "gateway.db").stat().st_mode) == 0o600
    again = run(tmp_path, "upgrade", "sqlite:///./gateway.db")
    assert (again.exit_code, again.stdout) == (0, f"schema {NEEDED}: nothing to do\n")


def test_status_says_where_which_and_how_many(tmp_path: Path) -> None:
    run(tmp_path, "upgrade", "sqlite:///./gateway.db")
    result = run(tmp_path, "status", "sqlite:///./gateway.db")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"database  sqlite {tmp_path}/gateway.db",
        f"schema    {NEEDED} (current)",
        "backends               0 rows",
        "invoices               0 rows",
        "revocations            0 rows",
        "tokens                 0 rows",
    ]


def test_status_of_a_database_that_is_not_there_creates_none(tmp_path: Path) -> None:
    result = run(tmp_path, "status", "sqlite:///./gateway.db")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "unable to open" in result.stderr
    assert not (tmp_path / "gateway.db").exists()


def test_postgresql_is_upgraded_and_described_without_its_password(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.create_database()
    before = run(tmp_path, "status", url)
    assert "schema    none (empty)" in before.stdout
    assert run(tmp_path, "upgrade", url).stdout == f"schema none -> {NEEDED}\n"
    after = run(tmp_path, "status", url)
    assert (after.exit_code, f"schema    {NEEDED} (current)" in after.stdout) == (0, True)
    assert PASSWORD not in before.output + after.output


@pytest.mark.parametrize("command", ["upgrade", "status"])
def test_a_server_that_is_away_is_exit_code_3(tmp_path: Path, command: str) -> None:
    result = run(tmp_path, command, f"postgresql://gateway:{PASSWORD}@127.0.0.1:1/name")
    assert result.exit_code == 3
    assert result.stderr.startswith("postgresql 127.0.0.1:1/name: ")
    assert PASSWORD not in result.output


def test_a_newer_schema_is_exit_code_3_for_upgrade_and_named_by_status(tmp_path: Path) -> None:
    run(tmp_path, "upgrade", "sqlite:///./gateway.db")
    with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    assert run(tmp_path, "upgrade", "sqlite:///./gateway.db").exit_code == 3
    assert "schema    9999 (newer)" in run(tmp_path, "status", "sqlite:///./gateway.db").stdout


@pytest.mark.parametrize("storage", ["mysql://me:hunter2@host/name", "sqlite:///:memory:"])
def test_a_wrong_url_is_exit_code_2_and_not_repeated(tmp_path: Path, storage: str) -> None:
    result = run(tmp_path, "upgrade", storage)
    assert result.exit_code == 2
    assert result.stderr
    assert "hunter2" not in result.output


def test_a_missing_configuration_is_exit_code_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(db, ["status", str(tmp_path / "nowhere.yaml")])
    assert result.exit_code == 2
    assert "nowhere.yaml" in result.stderr
