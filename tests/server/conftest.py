"""Fixtures of the server's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.server.rig import Rig, running_rig


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A gateway with the services of ``rig.SERVICES`` and a clock that the test moves."""
    async with running_rig(tmp_path) as running:
        yield running
