"""One gateway for all cases of a module: they share it as clients of a real one do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.site import HOSTS, Site, running_site


@pytest.fixture(scope="module", params=[True, False], ids=["fast", "ordinary"])
def fast_path(request: pytest.FixtureRequest) -> bool:
    """Both ways through the gateway obey the same tables."""
    return bool(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory, fast_path: bool) -> AsyncIterator[Site]:
    """Free and priced services for any host."""
    async with running_site(tmp_path_factory.mktemp("open"), fast_path=fast_path) as running:
        await running.buy()
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosts_site(tmp_path_factory: pytest.TempPathFactory, fast_path: bool) -> AsyncIterator[Site]:
    """A free service for one host, behind trusted proxies."""
    async with running_site(tmp_path_factory.mktemp("hosts"), HOSTS, fast_path=fast_path) as running:
        yield running
