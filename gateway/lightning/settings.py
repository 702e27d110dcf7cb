"""What a backend is told; ``gateway.config`` builds these, nothing below reads configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gateway.l402.bolt11 import PREFIXES

NETWORKS = tuple(PREFIXES)

SIMULATED_ENDPOINT = "127.0.0.1:8403"
"""Where the simulated node listens, and where its wallet looks for it, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class FromFile:
    """Material read from a file each time it is needed, so that a replaced file is picked up."""

    path: Path


@dataclass(frozen=True, slots=True)
class Inline:
    """Material given directly (from an environment variable). Never shown."""

    value: bytes = field(repr=False)


Material = FromFile | Inline


@dataclass(frozen=True, slots=True)
class SimulatedSettings:
    """A Lightning node in this process, for trying and testing. Refuses ``mainnet``.

    ``listen`` is the loopback (host, port) where `gateway sim pay` reaches it; port 0 = any free one.
    ``data`` is its own SQLite file (mode 0600), apart from the gateway's.
    """

    network: str
    listen: tuple[str, int]
    data: Path


@dataclass(frozen=True, slots=True)
class LndSettings:
    """A real lnd over gRPC. ``tls_cert`` is PEM, ``macaroon`` the raw binary macaroon (not hex)."""

    network: str
    address: str
    tls_cert: Material
    macaroon: Material
    rpc_timeout_s: float = 5.0
    private_hints: bool = False
    """Ask lnd to put route hints for private channels into invoices."""


LightningSettings = SimulatedSettings | LndSettings
