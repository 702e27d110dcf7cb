"""Two real lnd nodes for the tests in this folder: started once, whole again before each test, stopped at the end."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gateway.lightning.lnd import LndBackend, LndPayer
from gateway.lightning.settings import LndSettings
from tests.regtest import network as kit
from tests.regtest.live import LiveNetwork

HERE = Path(__file__).parent
BUILD_PATIENCE_S = 1800
"""The first run compiles btcd and lnd."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the real network, and the first test waits for it to be built and started."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.regtest)
            item.add_marker(pytest.mark.timeout(BUILD_PATIENCE_S))


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The folder with btcd, lnd and lncli, built now if need be."""
    built = subprocess.run([HERE / "build"], stdout=subprocess.PIPE, text=True, check=False, timeout=BUILD_PATIENCE_S)
    if built.returncode == 3:
        pytest.skip("no real Lightning nodes: Go is not installed, and tests/regtest/build has not run here before")
    assert built.returncode == 0, "tests/regtest/build failed"
    return Path(built.stdout.strip())


@pytest.fixture(scope="session")
def running_network(binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNetwork]:
    network = kit.up(tmp_path_factory.mktemp("regtest") / "network", binaries)
    try:
        yield LiveNetwork(network)
    finally:
        network.down()


@pytest.fixture
def network(running_network: LiveNetwork) -> Iterator[LiveNetwork]:
    """alice and bob, running and awake; a test may kill, stop or freeze them."""
    try:
        yield running_network
    finally:
        for node in (running_network.alice, running_network.bob):
            node.recover()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[LndSettings], LndBackend]]:
    """Opens backends, and closes them in the end."""
    opened: list[LndBackend] = []

    def make(settings: LndSettings) -> LndBackend:
        opened.append(LndBackend(settings, clock=time.time))
        return opened[-1]

    yield make
    for backend in opened:
        await backend.aclose()


@pytest.fixture
async def wallet(network: LiveNetwork) -> AsyncIterator[LndPayer]:
    """bob as a buyer's wallet, with payments flowing."""
    await network.bob.link()
    payer = LndPayer(network.bob.settings())
    yield payer
    await payer.aclose()
