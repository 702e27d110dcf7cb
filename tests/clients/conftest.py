from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.gateway_process import Endpoints, running_gateway


@pytest.fixture(scope="package")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    with running_gateway(tmp_path_factory.mktemp("gateway")) as endpoints:
        yield endpoints
