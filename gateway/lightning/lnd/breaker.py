"""A circuit breaker: a dead node is not asked again by every request, so that a refusal takes no time."""

from __future__ import annotations

from gateway.errors import NodeUnreachable

TRIPS_AT = 5
REFUSED_WEIGHS = 1
TIMED_OUT_WEIGHS = 3
"""Two calls in a row that ran into their deadline open it: nobody should wait five times 5 s for a frozen node."""


class Breaker:
    """Counts what failed since the node last answered, and opens at `TRIPS_AT`.

    An answer of any kind, a refusal too, closes it. It has no clock: who owns it probes the node while it is open.
    """

    def __init__(self) -> None:
        self._weight = 0
        self._reason = ""

    @property
    def is_open(self) -> bool:
        """Whether calls are refused without asking the node."""
        return self._weight >= TRIPS_AT

    def admit(self) -> None:
        """Raise ``NodeUnreachable`` at once while open."""
        if self.is_open:
            raise NodeUnreachable(f"{self._reason} (several times in a row; asking again in the background)")

    def answered(self) -> None:
        """The node said something."""
        self._weight = 0

    def failed(self, reason: str, weight: int) -> None:
        """A call met no node; ``reason`` is what refused callers are told."""
        self._weight = min(self._weight + weight, TRIPS_AT)
        self._reason = reason
