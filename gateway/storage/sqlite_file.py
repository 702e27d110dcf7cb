"""The SQLite file before it is opened: where it lies, who may read it, and whether it is whole."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from gateway.errors import StorageUnavailable
from gateway.storage.faults import RESTORE_HINT, translated

CHECK_BUDGET_S = 1.0
"""A start may take 2 s with a million rows: the check ends here, and a damaged page met later is still an outage."""
_PROGRESS_STEPS = 10_000
_LOOSE = stat.S_IRWXG | stat.S_IRWXO
_NETWORK = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "beegfs", "davfs", "ncpfs", "gfs2", "ocfs2",
        "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.davfs2", "fuse.gcsfuse",
    }
)  # fmt: skip
"""WAL needs memory shared between processes, which these do not give (sqlite.org/wal.html)."""


def prepare_file(path: Path) -> tuple[str, ...]:
    """Make sure that a file for us alone is there, on a disk that SQLite can use; return what the operator should know.

    Raises ``StorageUnavailable`` (no folder, a network file system, no right to tighten a loose mode).
    """
    with translated():
        _refuse_network(path)
        if not path.parent.is_dir():
            raise StorageUnavailable(f"the folder {path.parent} does not exist")
        if path.is_dir():
            raise StorageUnavailable(f"{path} is a folder, not a file")
        _create(path)
        return tuple(_tighten(path))


def check_whole(path: Path) -> None:
    """After an unclean exit, read the whole file (for at most ``CHECK_BUDGET_S``). Raises ``StorageUnavailable``.

    A clean exit folds the write-ahead log into the file and deletes it, so a log with content tells of another process
    or of a crash.
    """
    if not _log_has_content(path):
        return
    with translated(), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        stop_at = time.monotonic() + CHECK_BUDGET_S
        connection.set_progress_handler(lambda: time.monotonic() > stop_at, _PROGRESS_STEPS)
        try:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            return
    if verdict != "ok":
        raise StorageUnavailable(f"the database file {path} is damaged: {RESTORE_HINT}")


def network_filesystem(path: Path, mounts: str) -> str | None:
    """The type of the network file system that holds ``path``, by the lines of /proc/mounts; None on a local disk."""
    real, holder, kind = str(path), "", ""
    for line in mounts.splitlines():
        point, filesystem = (_unescape(word) for word in line.split()[1:3])
        inside = point in ("/", real) or real.startswith(point + "/")
        if inside and len(point) >= len(holder):  # of two mounts on one point the later hides the earlier
            holder, kind = point, filesystem
    return kind if kind in _NETWORK else None


def _refuse_network(path: Path) -> None:
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return  # not Linux
    kind = network_filesystem(path.parent.resolve(), mounts)
    if kind is not None:
        raise StorageUnavailable(f"{path.parent} is on {kind}: SQLite loses data there, use a local disk or PostgreSQL")


def _unescape(word: str) -> str:
    return word.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _create(path: Path) -> None:
    """An existing file is never opened here: closing it would drop the locks of this process's other connections."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _tighten(path: Path) -> Iterator[str]:
    """The file becomes the owner's alone; its log and index get its mode, which is the one SQLite makes them with.

    Left alone they would stay read-only after the file was made writable again, and keep the store from healing.
    """
    wanted = stat.S_IMODE(path.stat().st_mode) & ~_LOOSE
    for file in (path, *_beside(path)):
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
        except FileNotFoundError:
            continue
        if mode != wanted:
            yield from _change_mode(file, mode, wanted)


def _change_mode(file: Path, mode: int, wanted: int) -> Iterator[str]:
    loose = bool(mode & _LOOSE)
    try:
        file.chmod(wanted)
    except OSError as error:
        if loose:
            why = f"chmod 600 it ({error.strerror})"
            raise StorageUnavailable(f"{file} can be read by others and holds root keys: {why}") from None
        return
    if loose:
        yield f"{file} could be read by others (mode {mode:04o}): it is now {wanted:04o}"


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def _log_has_content(path: Path) -> bool:
    log, _ = _beside(path)
    try:
        return log.stat().st_size > 0
    except OSError:
        return False
