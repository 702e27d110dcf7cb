"""The SQLite file: who may read it, where it may lie, and that a damaged one is noticed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import SchemaMismatch, StorageUnavailable
from gateway.storage.sqlite_file import check_whole, network_filesystem, prepare_file
from gateway.storage.store import TokenRecord
from tests.storage.conftest import Stores
from tests.storage.samples import NOW, challenge


@pytest.fixture
def nothing_masked() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir() if file.is_file()}


@pytest.mark.usefixtures("nothing_masked")
async def test_the_file_its_log_and_its_index_are_for_the_owner_alone_whatever_the_umask(
    sqlite: Stores, tmp_path: Path
) -> None:
    store = await sqlite.open()
    await store.save_challenge(*challenge())
    assert modes(tmp_path) == {"gateway.db": 0o600, "gateway.db-wal": 0o600, "gateway.db-shm": 0o600}


async def test_a_file_that_others_can_read_is_tightened_and_the_operator_told(sqlite: Stores, tmp_path: Path) -> None:
    first = await sqlite.open()
    await first.save_challenge(*challenge())
    assert first.warnings == ()
    (tmp_path / "gateway.db").chmod(0o644)
    (tmp_path / "gateway.db-wal").chmod(0o666)
    second = await sqlite.open()
    assert modes(tmp_path) == {"gateway.db": 0o600, "gateway.db-wal": 0o600, "gateway.db-shm": 0o600}
    assert len(second.warnings) == 2
    assert all("could be read by others" in warning for warning in second.warnings)


@pytest.mark.parametrize(
    ("below", "expected"),
    [("missing/gateway.db", "does not exist"), (".", "is a folder"), ("file/x.db", "does not exist")],
)
async def test_a_place_that_cannot_hold_a_file_is_named(tmp_path: Path, below: str, expected: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable, match=expected):
        await Stores(f"sqlite:///{tmp_path}/{below}").open()
    assert not (tmp_path / "missing").exists()


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /srv/nfs nfs4 rw 0 0
//nas/share /srv/my\\040share cifs rw 0 0
me@host:/ /srv/nfs/deep fuse.sshfs rw 0 0
tmpfs /srv/nfs/local tmpfs rw 0 0
server:/later /srv/twice nfs rw 0 0
/dev/sdb1 /srv/twice ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib", None),
        ("/srv/nfs", "nfs4"),
        ("/srv/nfs/a/b", "nfs4"),
        ("/srv/nfsnot", None),
        ("/srv/my share/x", "cifs"),
        ("/srv/nfs/deep/x", "fuse.sshfs"),
        ("/srv/nfs/local/x", None),
        ("/srv/twice/x", None),
    ],
)
def test_a_network_file_system_is_recognised_by_the_innermost_mount(path: str, kind: str | None) -> None:
    assert network_filesystem(Path(path), MOUNTS) == kind


async def crash_image(sqlite: Stores, folder: Path, rows: int = 40) -> tuple[Path, list[TokenRecord]]:
    """What a killed gateway leaves: the file and a log that was not folded into it."""
    store = await sqlite.open()
    records = []
    for _ in range(rows):
        token, invoice = challenge()
        await store.save_challenge(token, invoice)
        records.append(TokenRecord(token, invoice))
    copy = folder / "copy.db"
    for end in ("", "-wal"):
        shutil.copy(folder / f"gateway.db{end}", f"{copy}{end}")
        Path(f"{copy}{end}").chmod(0o600)
    return copy, records


async def test_after_an_unclean_exit_everything_is_there(sqlite: Stores, tmp_path: Path) -> None:
    copy, records = await crash_image(sqlite, tmp_path)
    later = Stores(f"sqlite:///{copy}")
    store = await later.open()
    for record in records:
        assert await store.find_token(record.token.key) == record
    await later.aclose()


@pytest.mark.parametrize("kept", [0, 1, 31, 32, 5_000, 0.5, 0.9, 0.999])
async def test_a_torn_log_costs_only_its_last_commits(sqlite: Stores, tmp_path: Path, kept: float) -> None:
    copy, records = await crash_image(sqlite, tmp_path)
    log = Path(f"{copy}-wal")
    size = log.stat().st_size
    os.truncate(log, int(kept * size) if isinstance(kept, float) else kept)
    later = Stores(f"sqlite:///{copy}")
    store = await later.open()
    found = [await store.find_token(record.token.key) for record in records]
    survivors = found.index(None) if None in found else len(found)
    assert found == [*records[:survivors], *[None] * (len(records) - survivors)]
    await store.save_challenge(*challenge())
    await later.aclose()


async def test_a_damaged_page_is_found_after_an_unclean_exit_and_refused_with_a_hint(
    sqlite: Stores, tmp_path: Path
) -> None:
    copy, _ = await crash_image(sqlite, tmp_path, rows=60)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'tokens'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with copy.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(os.urandom(size))
    Path(f"{copy}-wal").write_bytes(b"an unclean exit leaves something here")
    with pytest.raises(StorageUnavailable, match=r"damaged.*restore it from a backup"):
        await Stores(f"sqlite:///{copy}").open()


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    path.write_bytes(b"these are not the bytes of a database" * 100)
    path.chmod(0o600)
    with pytest.raises(StorageUnavailable, match=r"damaged.*restore"):
        await Stores(f"sqlite:///{path}").open()
    assert path.read_bytes().startswith(b"these are not")


async def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    path.chmod(0o600)
    with pytest.raises(SchemaMismatch, match="another program"):
        await Stores(f"sqlite:///{path}").open()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]


def test_a_clean_file_is_not_read_through_at_start(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    prepare_file(path)
    path.write_bytes(b"nonsense that a check would refuse" * 100)
    check_whole(path)
    (tmp_path / "gateway.db-wal").write_bytes(b"x")
    with pytest.raises(StorageUnavailable):
        check_whole(path)


async def test_settings_are_those_that_survive_a_power_cut(sqlite: Stores) -> None:
    store = await sqlite.open()

    def pragmas(connection: object) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys", "secure_delete", "wal_autocheckpoint")
        return {n: connection.exec_driver_sql(f"PRAGMA {n}").scalar_one() for n in names}  # type: ignore[attr-defined]

    assert await store._database.write(pragmas) == {
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 5_000,
        "foreign_keys": 1,
        "secure_delete": 1,
        "wal_autocheckpoint": 1_000,
    }


async def test_a_revoked_root_key_is_in_no_file_any_more(sqlite: Stores, tmp_path: Path) -> None:
    store = await sqlite.open()
    token, invoice = challenge()
    await store.save_challenge(token, invoice)
    root_key = token.root_key
    assert root_key is not None

    def holders() -> list[str]:
        return [file.name for file in sorted(tmp_path.iterdir()) if root_key in file.read_bytes()]

    assert holders()
    assert await store.revoke(token.key, now=NOW)
    assert holders() == []
