"""Switches that make the simulated node misbehave, so that the gateway can be seen to cope."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

MAX_DELAY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong; all off by default. Delays are seconds from 0 to 3600 (``ValueError`` otherwise)."""

    slow: float = 0.0
    """Every call takes this much longer; beyond the node's deadline it ends as ``NodeUnreachable``."""
    down: bool = False
    """Every call ends as ``NodeUnreachable``, and so do running watches."""
    settle_late: float = 0.0
    """Between handing out the preimage and recording the settlement. Survives a restart."""
    withhold_preimage: bool = False
    """A payment settles, but the payer never gets the preimage."""
    wrong_amount: bool = False
    """New invoices ask for another amount than wanted."""
    wrong_hash: bool = False
    """New invoices carry another payment hash than the one the node names."""

    def __post_init__(self) -> None:
        for delay in (self.slow, self.settle_late):
            if not (math.isfinite(delay) and 0 <= delay <= MAX_DELAY_S):
                raise ValueError(f"a delay must be from 0 to {MAX_DELAY_S:.0f} seconds")

    @classmethod
    def from_json(cls, body: object) -> Faults:
        """Read the whole set of switches from a JSON object; what is not named is off.

        Raises ``ValueError`` for an unknown name or a value of the wrong type.
        """
        if not isinstance(body, dict):
            raise ValueError("expected an object of switches")  # noqa: TRY004 -- what a client sent, not a caller's bug
        defaults = {field.name: field.default for field in fields(cls)}
        for name, value in body.items():
            if name not in defaults:
                raise ValueError(f"unknown switch; there are {', '.join(defaults)}")
            wants_flag = isinstance(defaults[name], bool)
            if isinstance(value, bool) is not wants_flag or not isinstance(value, bool | int | float):
                raise ValueError(f"{name} takes {'true or false' if wants_flag else 'seconds'}")
        return cls(**body)
