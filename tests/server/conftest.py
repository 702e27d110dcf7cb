"""Fixtures of the server's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.server.rig import Rig, running_rig


@pytest_asyncio.fixture(params=["true", "false"], ids=["fast", "ordinary"])
async def rig(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """A gateway with the services of ``rig.SERVICES`` and a clock that the test moves, on either path."""
    async with running_rig(tmp_path, top=f"fast_path: {request.param}") as running:
        yield running
