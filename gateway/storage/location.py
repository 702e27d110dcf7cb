"""Where the database is: the two URL forms that ``storage:`` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_EXPECTED = "expected sqlite:///path/to/file.db, sqlite:////absolute/path.db or postgresql://user:password@host/name"


@dataclass(frozen=True, slots=True)
class SqliteLocation:
    """A file of ours."""

    path: Path

    def __str__(self) -> str:
        return f"sqlite {self.path}"


@dataclass(frozen=True, slots=True)
class PostgresLocation:
    """A PostgreSQL server; ``dsn`` is a libpq URI and holds the password, ``shown`` does not."""

    dsn: str = field(repr=False)
    shown: str

    def __str__(self) -> str:
        return f"postgresql {self.shown}"


Location = SqliteLocation | PostgresLocation


def parse_location(url: str) -> Location:
    """Read a storage URL. Raises ``ValueError`` saying what is expected; the message never repeats the URL.

    ``sqlite:///name`` is relative to the working directory. Parameters of a PostgreSQL URL are libpq's (``sslmode``,
    ``host=/socket/folder``, …).
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError(_EXPECTED)
    if scheme == "sqlite":
        return _sqlite(rest)
    if scheme in ("postgresql", "postgres"):
        return _postgres(url)
    raise ValueError(_EXPECTED)


def _sqlite(rest: str) -> SqliteLocation:
    path = rest.removeprefix("/")
    if path == rest or not path or path.endswith("/") or "\x00" in path:
        raise ValueError(_EXPECTED)
    if path.startswith((":memory:", "file:")) or "?" in path:
        raise ValueError("storage must be a plain file: a database in memory forgets what was paid")
    return SqliteLocation(Path(path))


def _postgres(url: str) -> PostgresLocation:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise ValueError(_EXPECTED) from None
    name = parts.path.removeprefix("/")
    if not name:
        raise ValueError("the PostgreSQL URL names no database: " + _EXPECTED)
    return PostgresLocation(url, f"{parts.hostname or 'local'}{port}/{name}")
