"""Two L402 clients that others wrote buy from a gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import HERE, client_python, run_script
from tests.clients.gateway_process import Endpoints

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600), pytest.mark.xdist_group("clients")]


def _report(lock: str, script: str, gateway: Endpoints, folder: Path) -> dict[str, Any]:
    python = client_python(lock)
    printed = run_script(python, HERE / script, folder, BASE=gateway.base, SIM=gateway.sim)
    report: dict[str, Any] = json.loads(printed)
    return report


BOUGHT = {"statuses": [200, 200, 200, 200], "sky": "clear", "echoed": 100_000, "paid": 3}
"""Two different services and a replaced credential are paid; the repeated URL is not."""


def test_l402_pays_reuses_its_credential_and_replaces_a_useless_one(gateway: Endpoints, tmp_path: Path) -> None:
    report = _report("l402", "buy_with_l402.py", gateway, tmp_path)
    assert report == {"requests": BOUGHT, "httpx": BOUGHT}


def test_l402_requests_pays_reuses_its_credential_and_replaces_a_useless_one(
    gateway: Endpoints, tmp_path: Path
) -> None:
    report = _report("l402-requests", "buy_with_l402_requests.py", gateway, tmp_path)
    assert report == {"sync": BOUGHT, "async": BOUGHT, "too_dear": True}
