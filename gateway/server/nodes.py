"""One row per Lightning backend: settings to the object that issues invoices."""

from __future__ import annotations

from collections.abc import Callable

from gateway.lightning.backend import LightningBackend
from gateway.lightning.settings import LightningSettings, LndSettings, SimulatedSettings

Clock = Callable[[], float]


def _simulated(settings: SimulatedSettings, clock: Clock) -> LightningBackend:
    from gateway.lightning.simulated import SimulatedNode  # noqa: PLC0415 - only the chosen backend is loaded

    return SimulatedNode(settings, clock=clock)


def _lnd(settings: LndSettings, clock: Clock) -> LightningBackend:
    from gateway.lightning.lnd.backend import LndBackend  # noqa: PLC0415 - grpc takes a while to import

    return LndBackend(settings, clock=clock)


def build_node(settings: LightningSettings, clock: Clock) -> LightningBackend:
    """The backend that these settings describe, not started yet."""
    if isinstance(settings, SimulatedSettings):
        return _simulated(settings, clock)
    return _lnd(settings, clock)
