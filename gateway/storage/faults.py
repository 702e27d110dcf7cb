"""The border where foreign exceptions stop: what SQLAlchemy and the drivers raise becomes ``StorageUnavailable``.

Nothing of a statement's values reaches a message: a driver's detail line may hold a whole row, root key included.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from gateway.errors import StorageUnavailable


class RowRefused(StorageUnavailable):
    """The database works, but will not take this row: a constraint, a duplicate or a value out of range."""


class NotNow(StorageUnavailable):
    """The file cannot be written, or only partly read, at this moment: read-only, full, or an I/O error."""


class ReadOnly(NotNow):
    """Every connection that was opened to a read-only file stays so, even after the file can be written again."""


FOREIGN: tuple[type[Exception], ...] = (SQLAlchemyError, sqlite3.Error, OSError)
"""OSError because a driver lets the operating system's own errors through while it connects."""
_BAD_VALUE: tuple[type[Exception], ...] = (OverflowError, UnicodeError)
"""Raised by sqlite3 for an integer over 64 bits and for text that is not Unicode; not a ``sqlite3.Error``."""
_NOT_NOW = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN},
)
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_VALUE_CLASSES = ("22", "23")
"""SQLSTATE classes (data exception, integrity violation) whose messages quote values."""

RESTORE_HINT = "restore it from a backup, or move it away to begin with an empty one"


@contextmanager
def translated(*more: type[Exception]) -> Iterator[None]:
    """Raise ``StorageUnavailable`` or one of its kinds in place of any driver's exception (and of ``more``)."""
    try:
        yield
    except StorageUnavailable:
        raise
    except (*FOREIGN, *_BAD_VALUE, *more) as error:
        raise unavailable(error) from None


def unavailable(error: BaseException) -> StorageUnavailable:
    """The error of ours that stands for a foreign one."""
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(error, (IntegrityError, *_BAD_VALUE)) or _sqlstate(original)[:2] in _VALUE_CLASSES:
        return RowRefused(f"the database refuses this row ({type(original).__name__})")
    code = getattr(original, "sqlite_errorcode", None)
    if code is None:
        return StorageUnavailable(f"the database does not answer: {_plain(original)}")
    primary = code & 0xFF  # SQLite's extended codes keep the primary one in their low byte
    if primary in _CORRUPT:
        return StorageUnavailable(f"the database file is damaged ({original}): {RESTORE_HINT}")
    message = f"the database cannot be used now: {original}"
    if primary == sqlite3.SQLITE_READONLY:
        return ReadOnly(message)
    return NotNow(message) if primary in _NOT_NOW else StorageUnavailable(message)


def _sqlstate(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or ""


def _plain(error: BaseException) -> str:
    """One line without the driver's detail and hint lines."""
    cause = error.__cause__ or error
    if isinstance(cause, OSError) and cause.strerror:
        return f"{cause.strerror}: {cause.filename}" if cause.filename else cause.strerror
    lines = str(cause).splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
