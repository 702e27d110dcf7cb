"""Purchases in a file of mode 0600, shared by all processes of one user."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from gateway.client.tokens import OriginQueues, Token, with_record, without_record
from gateway.errors import BuyerError
from gateway.l402.amounts import Msat

FORMAT_VERSION = 1
MAX_FILE_BYTES = 16 * 1024 * 1024
FILE_LOCK_DEADLINE_S = 10.0
LOCK_POLL_S = 0.02
PURCHASE_DEADLINE_S = 300.0
"""How long to wait for another process that is buying from the same origin; longer than any payment may take."""

Records = tuple[Token, ...]


def default_token_file() -> Path:
    """``l402-gateway/tokens.json`` under the XDG data home."""
    home = os.environ.get("XDG_DATA_HOME", "")
    base = Path(home) if home.startswith("/") else Path.home() / ".local" / "share"
    return base / "l402-gateway" / "tokens.json"


class FileTokenStore:
    """A JSON file, replaced as a whole: a crash leaves the old or the new one. Raises ``BuyerError`` (``token_file``).

    Looser modes than 0600 are tightened; a file of somebody else is refused. A folder that is made here gets 0700.
    """

    def __init__(self, path: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._own_folder = path is None
        self._path = (path or default_token_file()).expanduser().absolute()
        self._queues = OriginQueues()

    async def load(self, origin: str) -> Records:
        """Every record of one origin, oldest first."""
        records = await asyncio.to_thread(self._read)
        return tuple(token for token in records if token.origin == origin)

    async def put(self, token: Token) -> None:
        """Add or replace; on disk when it returns."""
        await asyncio.to_thread(self._change, lambda records: with_record(records, token))

    async def remove(self, token: Token) -> None:
        """Forget a record."""
        await asyncio.to_thread(self._change, lambda records: without_record(records, token))

    def purchasing(self, origin: str) -> AbstractAsyncContextManager[None]:
        """One purchase at a time per origin, among all processes that use this file."""
        return self._purchase(origin)

    @asynccontextmanager
    async def _purchase(self, origin: str) -> AsyncIterator[None]:
        name = f".{self._path.name}.{hashlib.sha256(origin.encode()).hexdigest()[:16]}.lock"
        async with self._queues.turn(origin):
            lock = await asyncio.to_thread(self._open_lock, name)
            try:
                # Polled, not awaited in a thread: a thread that waits in flock() cannot be cancelled.
                deadline = time.monotonic() + PURCHASE_DEADLINE_S
                while not _locked(lock):
                    if time.monotonic() > deadline:
                        raise BuyerError("token_file", "another process has been buying from this server for too long")
                    await asyncio.sleep(LOCK_POLL_S)
                yield
            finally:
                os.close(lock)

    def _read(self) -> Records:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise _unusable(self._path, error.strerror) from error
        with os.fdopen(descriptor, "rb") as file:
            _tighten(file.fileno(), self._path)
            raw = file.read(MAX_FILE_BYTES + 1)
        return _decode(raw, self._path)

    def _change(self, change: Callable[[Records], Records]) -> None:
        now = self._clock()
        with self._exclusive():
            records = tuple(token for token in self._read() if not token.dead(now))
            self._write(change(records))

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        lock = self._open_lock(f".{self._path.name}.lock")
        try:
            deadline = time.monotonic() + FILE_LOCK_DEADLINE_S
            while not _locked(lock):
                if time.monotonic() > deadline:
                    raise BuyerError("token_file", f"{self._path} is locked by another process")
                time.sleep(LOCK_POLL_S)
            yield
        finally:
            os.close(lock)

    def _open_lock(self, name: str) -> int:
        # A file beside the data: the data file itself is replaced, and a lock on the old one would hold nobody.
        try:
            self._prepare_folder()
            return os.open(self._path.parent / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _unusable(self._path, error.strerror) from error

    def _prepare_folder(self) -> None:
        folder = self._path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._own_folder and stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)

    def _write(self, records: Records) -> None:
        target = Path(os.path.realpath(self._path))
        fresh = target.with_name(f".{target.name}.new")
        raw = json.dumps({"version": FORMAT_VERSION, "tokens": [_to_json(token) for token in records]}, indent=1)
        try:
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(raw.encode())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise _unusable(self._path, error.strerror) from error


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _tighten(descriptor: int, path: Path) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise BuyerError("token_file", f"{path} is not a file of yours")
    if stat.S_IMODE(found.st_mode) & 0o077:
        os.fchmod(descriptor, 0o600)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, reason: str | None) -> BuyerError:
    return BuyerError("token_file", f"{path}: {reason or 'cannot be used'}")


def _to_json(token: Token) -> dict[str, Any]:
    return {
        "origin": token.origin,
        "path": token.path,
        "macaroon": token.macaroon,
        "scheme": token.scheme,
        "invoice": token.invoice,
        "payment_hash": token.payment_hash.hex(),
        "price_msat": token.price_msat,
        "fee_msat": token.fee_msat,
        "created_at": token.created_at,
        "invoice_expires_at": token.invoice_expires_at,
        "scope": list(token.scope),
        "expires_at": token.expires_at,
        "preimage": None if token.preimage is None else token.preimage.hex(),
        "worked_on": list(token.worked_on),
    }


def _decode(raw: bytes, path: Path) -> Records:
    try:
        content = json.loads(raw) if len(raw) <= MAX_FILE_BYTES else {}
        version = content["version"]
        if version == FORMAT_VERSION:
            return tuple(_from_json(entry) for entry in content["tokens"])
    except (ValueError, KeyError, TypeError, RecursionError):
        # Without the cause: it would repeat parts of the file. The file stays as it is: it holds paid tokens.
        raise BuyerError("token_file", f"{path} is damaged; move it away to start anew") from None
    raise BuyerError("token_file", f"{path} was written by another version of this program")


def _from_json(entry: dict[str, Any]) -> Token:
    preimage = entry["preimage"]
    expires_at = entry["expires_at"]
    return Token(
        origin=str(entry["origin"]),
        path=str(entry["path"]),
        macaroon=str(entry["macaroon"]),
        scheme=str(entry["scheme"]),
        invoice=str(entry["invoice"]),
        payment_hash=bytes.fromhex(entry["payment_hash"]),
        price_msat=Msat(int(entry["price_msat"])),
        fee_msat=Msat(int(entry["fee_msat"])),
        created_at=int(entry["created_at"]),
        invoice_expires_at=int(entry["invoice_expires_at"]),
        scope=tuple(str(caveat) for caveat in entry["scope"]),
        expires_at=None if expires_at is None else int(expires_at),
        preimage=None if preimage is None else bytes.fromhex(preimage),
        worked_on=tuple(str(known) for known in entry["worked_on"]),
    )
