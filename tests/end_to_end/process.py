"""A gateway as its users run it: a process, a configuration file, signals."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_S = 30.0

CONFIG = """
listen: 127.0.0.1:0
lightning: {backend: simulated, listen: '127.0.0.1:0'}
services:
  - {name: weather, match: {path: /weather/**}, upstream: demo, price: 10 sat, valid_for: 1h}
  - {name: echo, match: {path: /echo}, upstream: demo, price: 3 sat}
"""


@dataclass(slots=True)
class Answer:
    """What a request got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class GatewayProcess:
    """``gateway serve`` with its output collected line by line."""

    process: subprocess.Popen[str]
    log: Path
    lines: list[str] = field(default_factory=list)
    _queue: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def wait_for_line(self, beginning: str) -> str:
        """The first output line that begins so; fails with all output when the process ends instead."""
        for line in self.lines:
            if line.startswith(beginning):
                return line
        while True:
            line_or_end = self._queue.get(timeout=START_S)
            if line_or_end is None:
                raise AssertionError(f"ended before {beginning!r}: {self.lines} {self.log.read_text()[-2_000:]}")
            self.lines.append(line_or_end)
            if line_or_end.startswith(beginning):
                return line_or_end

    def collect(self) -> None:
        """Runs in a thread: a full pipe would stop the gateway."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    @property
    def base(self) -> str:
        return self.wait_for_line("listening on ").split()[2]

    @property
    def node(self) -> str:
        return self.wait_for_line("simulated node on ").split()[3]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(40)

    def request(self, path: str, authorization: str | None = None, *, method: str = "GET") -> Answer:
        headers = {"Authorization": authorization} if authorization else {}
        return fetch(f"{self.base}{path}", headers=headers, method=method)

    def pay(self, invoice: str) -> str:
        return str(
            fetch(
                f"{self.node}/pay",
                data=json.dumps({"invoice": invoice}).encode(),
                headers={"Content-Type": "application/json"},
                method="POST",
            ).json["preimage"]
        )


def fetch(url: str, *, method: str, headers: dict[str, str], data: bytes | None = None) -> Answer:
    """One request; an error status is an answer like any other."""
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


@contextmanager
def gateway_process(
    config: Path, env: Mapping[str, str] | None = None, errors: int | None = None
) -> Iterator[GatewayProcess]:
    """Start ``gateway serve``; whatever happens, nothing stays behind. ``errors`` is a file for its log lines."""
    log = config.with_suffix(".log")
    with open(log, "ab") as own:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", str(config)],
            stdout=subprocess.PIPE,
            stderr=own if errors is None else errors,
            text=True,
            cwd=config.parent,
            env={**os.environ, **(env or {})},
        )
    running = GatewayProcess(process, log)
    reader = threading.Thread(target=running.collect, daemon=True)
    reader.start()
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        reader.join(10)
        assert process.stdout is not None
        process.stdout.close()


def write_config(folder: Path, text: str = CONFIG) -> Path:
    """A configuration file in ``folder``."""
    path = folder / "gateway.yaml"
    path.write_text(text)
    return path
