"""Hypothesis profiles: the same examples each time unless asked otherwise; L402_TEST_SCALE multiplies their number."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SCALE = float(os.environ.get("L402_TEST_SCALE", "1.0"))
"""Share of the large counts to run: 1.0 is what CI runs, `make test-full` runs more."""

settings.register_profile(
    "gateway", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("gateway")
