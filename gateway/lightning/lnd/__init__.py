"""A real lnd over gRPC: `LndBackend` issues and watches invoices, `LndPayer` pays them.

gRPC stops here: callers meet only the types of `gateway.errors` (the table is in `outcomes`).
"""

from __future__ import annotations

import os

# gRPC's core writes lines of its own to stderr for every failed handshake, between the gateway's log lines; what they
# say is in our errors. It looks at this when it is first imported; an operator's own setting wins.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from gateway.lightning.lnd.backend import LndBackend
from gateway.lightning.lnd.payer import LndPayer

__all__ = ["LndBackend", "LndPayer"]
