"""One gateway for all cases of a module: they share it as clients of a real one do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.site import HOSTS, Site, running_site


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Free and priced services for any host."""
    async with running_site(tmp_path_factory.mktemp("open")) as running:
        await running.buy()
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosts_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A free service for one host, behind trusted proxies."""
    async with running_site(tmp_path_factory.mktemp("hosts"), HOSTS) as running:
        yield running
