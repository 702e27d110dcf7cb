"""Storage URLs: the two forms, and refusals that repeat no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.storage.location import PostgresLocation, SqliteLocation, parse_location
from gateway.storage.opening import open_store


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////var/lib/gateway/gateway.db", "/var/lib/gateway/gateway.db"),
        ("sqlite:///gateway.db", "gateway.db"),
        ("sqlite:///./data/gateway.db", "data/gateway.db"),
        ("sqlite:////srv/with space/100%/é.db", "/srv/with space/100%/é.db"),
    ],
)
def test_a_sqlite_url_is_a_path(url: str, path: str) -> None:
    assert parse_location(url) == SqliteLocation(Path(path))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_postgresql_url_is_shown_without_its_password(scheme: str) -> None:
    location = parse_location(f"{scheme}://me:hunter2@db.example.com:6432/gateway?sslmode=verify-full")
    assert isinstance(location, PostgresLocation)
    assert str(location) == "postgresql db.example.com:6432/gateway"
    assert "hunter2" not in repr(location)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gateway.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///folder/",
        "sqlite://hunter2/x.db",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory",
        "sqlite:///x.db?hunter2",
        "sqlite:///a\x00b",
        "mysql://me:hunter2@host/name",
        "postgresql://me:hunter2@host",
        "postgresql://me:hunter2@host/",
        "postgresql://me:hunter2@host:port/name",
        "postgresql://me:hunter2@[::1/name",
    ],
)
def test_anything_else_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_location(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_a_path_with_special_characters_is_that_file(tmp_path: Path) -> None:
    folder = tmp_path / "100% of #1 é"
    folder.mkdir()
    store = await open_store(f"sqlite:///{folder}/my gateway.db", clock=lambda: 0)
    await store.aclose()
    assert [file.name for file in folder.iterdir()] == ["my gateway.db"]
