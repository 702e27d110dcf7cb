"""When a dead node is no longer asked."""

from __future__ import annotations

import pytest

from gateway.errors import NodeUnreachable
from gateway.lightning.lnd.breaker import REFUSED_WEIGHS, TIMED_OUT_WEIGHS, TRIPS_AT, Breaker


@pytest.mark.parametrize(("weight", "calls"), [(REFUSED_WEIGHS, 5), (TIMED_OUT_WEIGHS, 2)])
def test_it_opens_after_so_many_failures_in_a_row(weight: int, calls: int) -> None:
    breaker = Breaker()
    for _ in range(calls):
        breaker.admit()
        breaker.failed("gone", weight)
    with pytest.raises(NodeUnreachable, match=r"^gone "):
        breaker.admit()


def test_any_answer_starts_the_count_again() -> None:
    breaker = Breaker()
    for _ in range(TRIPS_AT - 1):
        breaker.failed("gone", REFUSED_WEIGHS)
    breaker.answered()
    for _ in range(TRIPS_AT - 1):
        breaker.failed("gone", REFUSED_WEIGHS)
    breaker.admit()


def test_an_answer_closes_it() -> None:
    breaker = Breaker()
    for _ in range(100):
        breaker.failed("gone", TIMED_OUT_WEIGHS)
    assert breaker.is_open
    breaker.answered()
    breaker.admit()
    assert not breaker.is_open
