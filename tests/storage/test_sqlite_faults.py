"""A database that is locked, full, read-only, gone or replaced while the gateway runs: refused, then healed."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import StorageUnavailable
from gateway.l402.amounts import Msat
from gateway.storage.faults import FOREIGN
from gateway.storage.sql_store import SqlStore
from gateway.storage.store import Store, StoredInvoice, StoredToken, TokenRecord
from tests.storage.conftest import Stores
from tests.storage.samples import NOW, challenge, digest

NOBODY = 65_534

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def locked_by_another_process(path: Path) -> AsyncIterator[None]:
    """A process that holds the write lock until the block ends."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"locked\n"
    try:
        yield
    finally:
        holder.stdin.close()
        await holder.wait()


async def healed(attempt: Callable[[], Awaitable[object]]) -> None:
    """Repeat until the store serves again, as a client would."""
    give_up = time.monotonic() + 10
    while True:
        try:
            await attempt()
        except StorageUnavailable:
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.05)
        else:
            return


CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "save_challenge": lambda store: store.save_challenge(*challenge()),
    "record_settlement": lambda store: store.record_settlement(
        "lnd", digest("x"), paid_msat=Msat(1), settled_at=NOW, settle_index=1
    ),
    "record_cancellation": lambda store: store.record_cancellation(digest("x")),
    "revoke": lambda store: store.revoke(digest("x"), now=NOW),
    "find_token": lambda store: store.find_token(digest("x")),
    "find_invoice": lambda store: store.find_invoice(digest("x")),
    "settle_index": lambda store: store.settle_index("lnd"),
    "pending_invoices": lambda store: store.pending_invoices("lnd"),
    "revocations_after": lambda store: store.revocations_after(0),
}
WRITES = ("save_challenge", "record_settlement", "record_cancellation", "revoke")


async def test_a_write_waits_for_another_process_to_let_go(sqlite: Stores, tmp_path: Path) -> None:
    store = await sqlite.open()
    token, invoice = challenge()
    async with locked_by_another_process(tmp_path / "gateway.db"):
        saving = asyncio.ensure_future(store.save_challenge(token, invoice))
        assert await store.find_token(token.key) is None  # reading needs no lock
        assert not saving.done()
    await saving
    assert await store.find_token(token.key) == TokenRecord(token, invoice)


async def test_a_lock_held_too_long_is_an_outage_for_everybody_who_waits_and_passes(
    sqlite: Stores, tmp_path: Path
) -> None:
    store = await sqlite.open(busy_timeout_s=0.3)
    waiting = [challenge() for _ in range(30)]
    async with locked_by_another_process(tmp_path / "gateway.db"):
        started = time.monotonic()
        answers = await asyncio.gather(*(store.save_challenge(*one) for one in waiting), return_exceptions=True)
        waited = time.monotonic() - started
        assert [type(answer) for answer in answers] == [StorageUnavailable] * 30
        assert "locked" in str(answers[0])
        assert 0.25 < waited < 5  # once, not thirty times
    for one in waiting:
        assert await store.find_token(one[0].key) is None
        await store.save_challenge(*one)
    assert len(await store.pending_invoices("lnd")) == 30


@contextmanager
def small_disk(folder: Path, megabytes: int = 2) -> Iterator[Path]:
    """A file system of its own; mounting one needs root."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"x" * 4_096):
            pass


async def save_until_refused(store: Store, saved: list[tuple[StoredToken, StoredInvoice]]) -> None:
    for _ in range(2_000):
        one = challenge()
        await store.save_challenge(*one)
        saved.append(one)


async def test_a_full_disk_refuses_writes_serves_reads_and_heals_when_there_is_space_again(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        opened = Stores(f"sqlite:///{disk}/gateway.db")
        store = await opened.open()
        kept = challenge()
        await store.save_challenge(*kept)
        ballast = disk / "ballast"
        fill(ballast)
        saved = [kept]
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match=r"full|I/O error"):
                await save_until_refused(store, saved)
            for token, invoice in saved:
                assert await store.find_token(token.key) == TokenRecord(token, invoice)
        ballast.unlink()
        await healed(lambda: store.save_challenge(*challenge()))
        assert await store.find_token(kept[0].key) == TokenRecord(*kept)
        await opened.aclose()


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


async def test_a_disk_that_turns_read_only_refuses_writes_and_heals(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        path = disk / "gateway.db"
        opened = Stores(f"sqlite:///{path}")
        store = await opened.open()
        kept = challenge()
        await store.save_challenge(*kept)
        await opened.aclose()
        remount(disk, "ro")
        store = await opened.open()  # starts nevertheless
        assert len(store.warnings) == 1
        for name in WRITES:
            with pytest.raises(StorageUnavailable):
                await CALLS[name](store)
        remount(disk, "rw")
        await healed(lambda: store.save_challenge(*challenge()))
        assert await store.find_token(kept[0].key) == TokenRecord(*kept)
        await opened.aclose()


@contextmanager
def without_privileges(folder: Path) -> Iterator[None]:
    """Root may write to any file: become somebody who owns this folder and nothing else."""
    if os.geteuid() != 0:
        yield
        return
    for file in (folder, *folder.iterdir()):
        os.chown(file, NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_file_that_is_read_only_at_start_serves_reads_and_heals() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        path = Path(name) / "gateway.db"
        opened = Stores(f"sqlite:///{path}")
        first = await opened.open()
        kept = challenge()
        await first.save_challenge(*kept)
        await first.aclose()
        with without_privileges(path.parent):
            path.chmod(0o400)
            store = await opened.open()
            assert any("read-only" in warning for warning in store.warnings)
            assert await store.find_token(kept[0].key) == TokenRecord(*kept)
            with pytest.raises(StorageUnavailable):
                await store.save_challenge(*challenge())
            path.chmod(0o600)
            await healed(lambda: store.save_challenge(*challenge()))
            assert await store.find_token(kept[0].key) == TokenRecord(*kept)
            await opened.aclose()


@contextmanager
def files_may_not_grow() -> Iterator[None]:
    """The operating system refuses this process to write past the first byte of any file (pytest's own included)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_write_that_the_system_refuses_is_an_outage_and_passes(sqlite: Stores) -> None:
    store = await sqlite.open()
    kept = challenge()
    await store.save_challenge(*kept)
    calls = [CALLS["save_challenge"], CALLS["record_settlement"], CALLS["save_challenge"]]
    with files_may_not_grow():
        failures = [(await asyncio.gather(call(store), return_exceptions=True))[0] for call in calls]
        found = await store.find_token(kept[0].key)
    assert [isinstance(failure, StorageUnavailable) for failure in failures] == [True] * 3
    assert found == TokenRecord(*kept)
    await healed(lambda: store.save_challenge(*challenge()))


def drop_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for table in ("tokens", "invoices", "backends", "revocations"):
            connection.execute(f"DROP TABLE {table}")
        connection.commit()


def replace_by_nonsense(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"nonsense" * 1_000)
    other.chmod(0o600)
    other.rename(path)


def overwrite(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(os.urandom(size))


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], None]] = {
    "its tables dropped": drop_tables,
    "its file deleted": Path.unlink,
    "its file replaced by nonsense": replace_by_nonsense,
    "its file replaced by a folder": replace_by_folder,
    "its file overwritten in place": overwrite,
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_with_the_database_damaged_every_call_is_an_outage_and_nothing_else(
    sqlite: Stores, tmp_path: Path, damage: str
) -> None:
    store = await sqlite.open(busy_timeout_s=0.2)
    await store.save_challenge(*challenge())
    DAMAGE[damage](tmp_path / "gateway.db")
    for name, call in CALLS.items():
        with pytest.raises(StorageUnavailable) as caught:
            await call(store)
        assert caught.value.__cause__ is None, name
        assert caught.value.__suppress_context__ or not isinstance(caught.value.__context__, FOREIGN), name


BAD_VALUES = {
    "an amount beyond 64 bits": lambda t, i: (t, replace(i, amount_msat=Msat(2**70))),
    "a negative amount": lambda t, i: (t, replace(i, amount_msat=Msat(-1))),
    "a short hash": lambda t, i: (replace(t, payment_hash=b"x"), replace(i, payment_hash=b"x")),
    "a short root key": lambda t, i: (replace(t, root_key=b"secret-root-key"), i),
    "text that is not Unicode": lambda t, i: (replace(t, service="\udc80"), i),
    "a settled invoice without a time": lambda t, i: (t, replace(i, state=type(i.state)("settled"))),
}


@pytest.mark.parametrize("what", BAD_VALUES)
async def test_a_row_that_the_database_refuses_is_an_outage_and_fails_nobody_else(stores: Stores, what: str) -> None:
    store = await stores.open()
    good = [challenge() for _ in range(20)]
    token, invoice = challenge()
    bad = BAD_VALUES[what](token, invoice)
    mixed = [*good[:10], bad, *good[10:]]
    answers = await asyncio.gather(*(store.save_challenge(*one) for one in mixed), return_exceptions=True)
    assert isinstance(answers.pop(10), StorageUnavailable)
    assert answers == [None] * 20
    with pytest.raises(StorageUnavailable) as caught:
        await store.save_challenge(*bad)
    assert "secret-root-key" not in str(caught.value)
    for one in good:
        assert await store.find_token(one[0].key) == TokenRecord(*one)
    assert await store.find_token(token.key) is None
    assert await store.find_invoice(invoice.payment_hash) is None


async def test_a_deleted_file_is_not_silently_written_on_or_made_anew_and_its_return_heals(
    sqlite: Stores, tmp_path: Path
) -> None:
    store = await sqlite.open()
    kept = challenge()
    await store.save_challenge(*kept)
    path = tmp_path / "gateway.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    backup = tmp_path / "backup"
    shutil.copy(path, backup)
    path.unlink()
    for name, call in CALLS.items():
        with pytest.raises(StorageUnavailable, match="gone"):
            await call(store)
        assert not path.exists(), name
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    backup.rename(path)
    await healed(lambda: store.save_challenge(*challenge()))
    assert await store.find_token(kept[0].key) == TokenRecord(*kept)


async def test_after_closing_every_call_is_an_outage(stores: Stores) -> None:
    store = await stores.open()
    await store.aclose()
    for call in CALLS.values():
        with pytest.raises(StorageUnavailable, match="closed"):
            await call(store)


async def test_what_waits_when_the_store_closes_is_still_written(sqlite: Stores) -> None:
    store = await sqlite.open()
    waiting = [challenge() for _ in range(50)]
    saving = [asyncio.ensure_future(store.save_challenge(*one)) for one in waiting]
    await asyncio.sleep(0)
    await store.aclose()
    await asyncio.gather(*saving)
    again: SqlStore = await sqlite.open()
    assert len(await again.pending_invoices("lnd")) == 50


async def test_an_operation_of_ours_that_fails_reaches_its_caller_and_the_writer_lives_on(sqlite: Stores) -> None:
    store = await sqlite.open()

    def broken(_: object) -> None:
        raise ZeroDivisionError

    good = challenge()
    answers = await asyncio.gather(store._database.write(broken), store.save_challenge(*good), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ZeroDivisionError, type(None)]
    assert await store.find_token(good[0].key) == TokenRecord(*good)
