"""A Lightning node in this process that issues real BOLT 11 invoices for play money, and a wallet that pays them."""

from __future__ import annotations

from gateway.lightning.simulated.faults import Faults
from gateway.lightning.simulated.node import SimulatedNode
from gateway.lightning.simulated.payer import SimulatedPayer
from gateway.lightning.simulated.payment import Receipt, Refusal

__all__ = ["Faults", "Receipt", "Refusal", "SimulatedNode", "SimulatedPayer"]
