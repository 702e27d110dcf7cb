"""Drive nginx's proxy_pass and the gateway in turn, one core for the proxy, one for load and upstream; print a table.

Needs nginx and wrk (Debian packages ``nginx-light`` and ``wrk``). Believe the ratios, not the absolutes.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.parties import Buyer, Gateway, Nginx, Party

PROXY_CORE, LOAD_CORE = "0", "1"
CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Case:
    """One row: what is asked of which party."""

    name: str
    party: Party
    path: str
    headers: tuple[str, ...] = ()
    against: str = ""
    """Name of the row that this one is compared with."""
    method: str = "GET"
    sold: bool = True
    """False where the answer is a 402."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One round: requests per second, latencies in ms, CPU microseconds per request and resident MB of the proxy."""

    rate: float
    p50: float
    p99: float
    cpu_us: float
    rss_mb: float


def wrk(case: Case, seconds: float) -> Measure:
    """One round of load against a case; raises when answers are not what the case says."""
    script = Path(__file__).with_name("report.lua")
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "-s", str(script)]
    for header in case.headers:
        command += ["-H", header]
    command += [case.party.base + case.path, "--", case.method]
    before = case.party.cpu_seconds()
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = case.party.cpu_seconds() - before
    found = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)", out)
    if found is None:
        raise RuntimeError(out)
    requests, duration_us, p50, p99, refused, lost = map(int, found.groups())
    if requests == 0 or lost or refused != (0 if case.sold else requests):
        raise RuntimeError(f"{case.name}: {requests} requests, {refused} refused, {lost} lost")
    rate, cpu_us = requests / duration_us * 1e6, spent / requests * 1e6
    return Measure(rate, p50 / 1e3, p99 / 1e3, cpu_us, case.party.rss_mb())


def median(rounds: list[Measure], read: Callable[[Measure], float]) -> float:
    return statistics.median(read(measure) for measure in rounds)


def print_table(rounds: dict[Case, list[Measure]]) -> None:
    """Markdown, ratios against the reference row."""
    rates = {case.name: median(found, lambda m: m.rate) for case, found in rounds.items()}
    print("| case | requests/s | p50 ms | p99 ms | CPU µs/request | ratio to nginx | RSS MB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for case, found in rounds.items():
        rate = rates[case.name]
        cells = [
            case.name,
            f"{rate:,.0f}",
            f"{median(found, lambda m: m.p50):.2f}",
            f"{median(found, lambda m: m.p99):.2f}",
            f"{median(found, lambda m: m.cpu_us):.1f}",
            f"{rate / rates[case.against or case.name]:.2f}",
            f"{max(measure.rss_mb for measure in found):.0f}",
        ]
        print(f"| {' | '.join(cells)} |")


@contextmanager
def cases(folder: Path) -> Iterator[list[Case]]:
    """Start everybody."""
    with ExitStack() as stack:
        upstream = stack.enter_context(Nginx.upstream(folder / "upstream", LOAD_CORE))
        reference = stack.enter_context(Nginx.proxy(folder / "proxy", PROXY_CORE, upstream.base))
        gateway = stack.enter_context(Gateway.serving(folder / "gateway", PROXY_CORE, upstream.base))
        many = stack.enter_context(Gateway.serving(folder / "many", PROXY_CORE, upstream.base, more_services=998))
        ordinary = stack.enter_context(
            Gateway.serving(folder / "ordinary", PROXY_CORE, upstream.base, top="fast_path: false")
        )
        paid_of_ordinary = authorization(ordinary)
        paid, paid_of_many = authorization(gateway), authorization(many)
        small, large, chunked, post = (f"nginx, {what}" for what in ("small", "100 KB", "10 KB chunked", "POST small"))
        yield [
            Case(small, reference, "/small"),
            Case("gateway, free, small", gateway, "/free/small", against=small),
            Case("gateway, paid, small", gateway, "/paid/small", paid, small),
            Case("gateway, paid, small, 1,000 services", many, "/paid/small", paid_of_many, small),
            Case("gateway, paid, small, fast_path: false", ordinary, "/paid/small", paid_of_ordinary, small),
            Case("gateway, 402 from the simulated node", gateway, "/paid/small", against=small, sold=False),
            Case(post, reference, "/small", method="POST"),
            Case("gateway, paid, POST small", gateway, "/paid/small", paid, post, method="POST"),
            Case(
                "gateway, paid, POST small, fast_path: false", ordinary, "/paid/small", paid_of_ordinary, post, "POST"
            ),
            Case(chunked, reference, "/chunked"),
            Case("gateway, paid, 10 KB chunked", gateway, "/paid/chunked", paid, chunked),
            Case(large, reference, "/large"),
            Case("gateway, paid, 100 KB", gateway, "/paid/large", paid, large),
        ]


def authorization(gateway: Party) -> tuple[str]:
    """A header that paid."""
    return (f"Authorization: {Buyer(gateway).buy('/paid/small')}",)


def main() -> int:
    """Run all cases in alternating rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if missing := [tool for tool in ("nginx", "wrk", "taskset") if shutil.which(tool) is None]:
        print(f"bench: not installed: {', '.join(missing)} (Debian: nginx-light, wrk, util-linux)", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as folder, cases(Path(folder)) as rows:
        rounds: dict[Case, list[Measure]] = {case: [] for case in rows}
        for _ in range(arguments.rounds):
            for case in rows:
                rounds[case].append(wrk(case, arguments.seconds))
                time.sleep(0.2)
        print_table(rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
