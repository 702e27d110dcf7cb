"""A whole gateway as its users start it: ``gateway serve`` with a simulated node and the demo upstream."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
START_DEADLINE_S = 30.0
CONFIG = """\
listen: 127.0.0.1:0
storage: sqlite:///./gateway.db
lightning: {backend: simulated, listen: 127.0.0.1:0}
services:
  - name: weather
    match: {path: /weather/**}
    upstream: demo
    price: 10 sat
    routes:
      - {match: {path: /weather/status}, price: free}
  - name: echo
    match: {path: /echo}
    upstream: demo
    price: 1500 msat
"""
_LISTENING = re.compile(r"listening on (http://\S+)")
_NODE = re.compile(r"simulated node on (http://\S+)")


@dataclass(frozen=True)
class Endpoints:
    """Where the gateway and its simulated node listen, as URLs without a slash at the end."""

    base: str
    sim: str


@contextlib.contextmanager
def running_gateway(folder: Path) -> Iterator[Endpoints]:
    """Serve ``CONFIG`` from ``folder`` on free ports; stopped by SIGTERM."""
    config = folder / "gateway.yaml"
    config.write_text(CONFIG)
    with (folder / "gateway.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", config],
            cwd=folder,
            env=program_environment(),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield _endpoints(process, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def program_environment() -> dict[str, str]:
    """The environment in which ``python -m gateway`` finds this repository, installed or not."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _endpoints(process: subprocess.Popen[str], folder: Path) -> Endpoints:
    lines: queue.Queue[str | None] = queue.Queue()
    assert process.stdout is not None
    # Read to the end, so that the gateway never waits for a full pipe.
    threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
    said, deadline = "", time.monotonic() + START_DEADLINE_S
    while True:
        listening, node = _LISTENING.search(said), _NODE.search(said)
        if listening and node:
            return Endpoints(listening[1], node[1])
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            line = None
        if line is None:
            log = (folder / "gateway.log").read_text()
            raise AssertionError(f"the gateway did not start; it said:\n{said}\n{log}")
        said += line


def _pump(stream: Iterator[str], lines: queue.Queue[str | None]) -> None:
    with contextlib.suppress(ValueError):  # closed at the end
        for line in stream:
            lines.put(line)
    lines.put(None)
