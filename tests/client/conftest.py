from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.client.seller import SAT, Seller, running_seller


@pytest.fixture
async def seller(tmp_path: Path) -> AsyncIterator[Seller]:
    async with running_seller(tmp_path) as seller:
        seller.prices = {
            "/weather/now": ("weather", "default", 10 * SAT),
            "/weather/tomorrow": ("weather", "default", 10 * SAT),
            "/weather/history": ("weather", "history", 20 * SAT),
            "/maps/now": ("maps", "default", 5 * SAT),
        }
        yield seller
