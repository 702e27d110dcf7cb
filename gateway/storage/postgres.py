"""PostgreSQL as a database of ours (asyncpg): several gateways may share it.

Needs the extra ``l402-gateway[postgres]``, and is imported only when a URL asks for it.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, TypeVar

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from gateway.storage.deadline import Bounded
from gateway.storage.faults import translated
from gateway.storage.location import PostgresLocation
from gateway.storage.migrating import require_current, stored_revision
from gateway.storage.operations import Operation

T = TypeVar("T")

DEADLINE_S = 5.0
CONNECT_S = 3.0
CONNECTIONS = 10
RETRY_AFTER_S = (0.05, 0.2, 0.8)
"""Roughly: each is multiplied by a half to one and a half, so that instances do not retry in step."""
_SERIALIZATION = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: certainly rolled back."""
FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)
"""ValueError: what asyncpg makes of a connection parameter that it does not understand."""


def postgres_engine(location: PostgresLocation, *, command_timeout_s: float | None = DEADLINE_S) -> AsyncEngine:
    """Connections come from asyncpg itself, which reads the URL and its parameters as libpq does."""

    async def connect() -> Any:
        return await asyncpg.connect(location.dsn, timeout=CONNECT_S, command_timeout=command_timeout_s)

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=DEADLINE_S,
        hide_parameters=True,
    )


class PostgresDatabase:
    """``read`` and ``write`` run operations; both raise only ``StorageUnavailable`` and what the operation raises."""

    def __init__(self, location: PostgresLocation) -> None:
        self._engine = postgres_engine(location)
        self._bounded = Bounded(DEADLINE_S)

    async def start(self) -> tuple[str, ...]:
        """Raises ``SchemaMismatch`` unless ``gateway db upgrade`` was run; never migrates by itself."""
        require_current(await self.read(stored_revision))
        return ()

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation that changes nothing; tried again when the connection had gone."""
        return await self._bounded.run(self._persistently(operation, commit=False))

    async def write(self, operation: Operation[T], *, scrub: bool = False) -> T:
        """Run an operation in a transaction, tried again only when it was certainly not committed.

        ``scrub`` is left to the server's own vacuum.
        """
        return await self._bounded.run(self._persistently(operation, commit=True))

    async def aclose(self) -> None:
        """Close every connection; idempotent."""
        await self._bounded.aclose()
        with translated(*FOREIGN):
            await self._engine.dispose()

    async def _persistently(self, operation: Operation[T], *, commit: bool) -> T:
        with translated(*FOREIGN):
            for pause in RETRY_AFTER_S:
                attempt = _Attempt(self._engine)
                try:
                    return await attempt.run(operation, commit=commit)
                except (DBAPIError, OSError, *FOREIGN) as error:
                    if attempt.committing or not _passing(error):
                        raise
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  (no secret hangs on it)
            return await _Attempt(self._engine).run(operation, commit=commit)


class _Attempt:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.committing = False

    async def run(self, operation: Operation[T], *, commit: bool) -> T:
        async with self._engine.connect() as connection:
            result = await connection.run_sync(operation)
            if commit:
                self.committing = True
                await connection.commit()
            return result


def _passing(error: Exception) -> bool:
    """Whether the next attempt may fare better: the connection had gone, or the server asked to repeat."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, (OSError, asyncpg.CannotConnectNowError))
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _SERIALIZATION
