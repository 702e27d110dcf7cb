"""Fixtures of the proxy's tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a client or an upstream does, nothing is logged as our error: no traceback, no task left behind."""
    yield
    assert [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING] == []
