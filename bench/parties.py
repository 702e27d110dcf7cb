"""Who takes part in a measurement: nginx twice, the gateway, and somebody who buys a token for the load."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")

UPSTREAM = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {http}
}}
"""
SERVE = """server {{ listen 127.0.0.1:{port};
  location ~ /small$ {{ default_type text/plain; return 200 "hello, world\\n"; }}
  location ~ /large$ {{ root {folder}; try_files /large =404; }}
  location ~ /chunked$ {{ root {folder}; try_files /chunked =404; ssi on; ssi_types *; }}
}}"""
PROXY = """upstream up {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}
server {{ listen 127.0.0.1:{port}; location / {{
  proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
}} }}"""
GATEWAY = """
listen: 127.0.0.1:{port}
lightning: {{backend: simulated, listen: "127.0.0.1:{node}"}}
services:
  - {{name: paid, match: {{path: /paid/**}}, upstream: "{upstream}", price: 10 sat}}
  - {{name: free, match: {{path: /free/**}}, upstream: "{upstream}", price: free}}
"""
ANOTHER = """  - {{name: s{number}, match: {{path: /s{number}/**}}, upstream: "{upstream}", price: 10 sat}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_open(port: int, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@dataclass(frozen=True, slots=True)
class Party:
    """A running server: its URL and its process."""

    base: str
    pid: int
    node: str = ""

    def _processes(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def cpu_seconds(self) -> float:
        """User and system time of the server and its workers."""
        total = 0
        for pid in self._processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def rss_mb(self) -> float:
        """Resident memory of the server and its workers."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self._processes())
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Nginx:
    """nginx as upstream or as the reference proxy."""

    @staticmethod
    @contextmanager
    def upstream(folder: Path, core: str) -> Iterator[Party]:
        folder.mkdir()
        (folder / "large").write_bytes(b"x" * 100_000)
        (folder / "chunked").write_bytes(b"x" * 10_000)  # sent chunked, because it passes through a filter
        folder.chmod(0o755)
        with _nginx(folder, core, SERVE.format(port="{port}", folder=folder)) as party:
            yield party

    @staticmethod
    @contextmanager
    def proxy(folder: Path, core: str, upstream: str) -> Iterator[Party]:
        folder.mkdir()
        with _nginx(folder, core, PROXY.format(port="{port}", upstream=upstream.removeprefix("http://"))) as party:
            yield party


@contextmanager
def _nginx(folder: Path, core: str, server: str) -> Iterator[Party]:
    port = free_port()
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(user + UPSTREAM.format(folder=folder, http=server.replace("{port}", str(port))))
    command = ["taskset", "-c", core, "nginx", "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    with _process(command, port) as pid:
        yield Party(f"http://127.0.0.1:{port}", pid)


class Gateway:
    """This gateway, with the simulated node."""

    @staticmethod
    @contextmanager
    def serving(folder: Path, core: str, upstream: str, *, more_services: int = 0, top: str = "") -> Iterator[Party]:
        """``more_services`` stand in the configuration behind the two that are asked; ``top`` are further keys."""
        folder.mkdir()
        port, node = free_port(), free_port()
        config = folder / "gateway.yaml"
        more = "".join(ANOTHER.format(number=number, upstream=upstream) for number in range(more_services))
        config.write_text(top + GATEWAY.format(port=port, node=node, upstream=upstream) + more)
        command = ["taskset", "-c", core, sys.executable, "-m", "gateway", "serve", str(config)]
        with _process(command, port) as pid:
            yield Party(f"http://127.0.0.1:{port}", pid, f"http://127.0.0.1:{node}")


@contextmanager
def _process(command: list[str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_open(port)
        yield process.pid
    finally:
        process.terminate()
        process.wait(40)


@dataclass(frozen=True, slots=True)
class Buyer:
    """Buys one token, so that the load has something to show."""

    gateway: Party

    def buy(self, path: str) -> str:
        """The value of an Authorization header."""
        try:
            urllib.request.urlopen(self.gateway.base + path, timeout=10).close()
        except urllib.error.HTTPError as error:
            offer = json.load(error)
        request = urllib.request.Request(
            f"{self.gateway.node}/pay",
            data=json.dumps({"invoice": offer["invoice"]}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return f"L402 {offer['macaroon']}:{json.load(answer)['preimage']}"
