"""Configurations as tests write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config import Settings, load_settings
from gateway.errors import ConfigError

CERTIFICATE = Path(__file__).with_name("certificate.pem")
"""A certificate authority's that nobody uses."""
SIMULATED = "lightning: {backend: simulated}"
LND = (
    "lightning: {backend: lnd, network: regtest, address: '127.0.0.1:10009', tls_cert: tls.cert, macaroon: m.macaroon}"
)
SERVICE = {"name": "a", "upstream": "http://127.0.0.1:9000", "price": "10 sat"}


def service(*lines: str, without: str = "", lightning: str = SIMULATED) -> str:
    """A file with one service on lines 3 to 5; ``lines`` replace its keys or follow on line 6."""
    given = {line.partition(":")[0]: line for line in lines}
    first = [given.pop(key, f"{key}: {value}") for key, value in SERVICE.items() if key != without]
    return "\n".join(
        [lightning, "services:", f"- {first[0]}", *(f"  {line}" for line in [*first[1:], *given.values()])]
    )


def load(folder: Path, text: str | bytes, env: Mapping[str, str] | None = None) -> Settings:
    """Load ``text`` as the file g.yaml."""
    path = folder / "g.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_settings(path, env or {})


def refused(folder: Path, text: str | bytes, env: Mapping[str, str] | None = None) -> list[str]:
    """The problems of ``text``, without the file's name."""
    with pytest.raises(ConfigError) as refusal:
        load(folder, text, env)
    return [str(problem).removeprefix(f"{folder / 'g.yaml'}:").strip() for problem in refusal.value.problems]


def warned(folder: Path, text: str) -> list[str]:
    """The warnings about ``text``, without the file's name."""
    return [str(problem).removeprefix(f"{folder / 'g.yaml'}:").strip() for problem in load(folder, text).warnings]
