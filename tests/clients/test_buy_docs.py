"""Every code block of docs/buy.md does what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.environments import client_python
from tests.clients.gateway_process import ROOT, Endpoints, program_environment

PAGE = ROOT / "docs" / "buy.md"
_BLOCK = re.compile(r"^```(\w+)(?: ([\w-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESSES = re.compile(r"^export (?:BASE|SIM)=\S+\n", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """``package`` is the environment that runs it, '' for this repository's own."""

    language: str
    package: str
    code: str
    title: str


def _blocks() -> list[Block]:
    page = PAGE.read_text()
    blocks = []
    for found in _BLOCK.finditer(page):
        # The addresses that the page sets are the one thing that differs here.
        code = _ADDRESSES.sub("", found[3])
        title = re.findall(r"^## (.+)$", page[: found.start()], re.MULTILINE)
        if code:
            blocks.append(Block(found[1], found[2] or "", code, title[-1] if title else ""))
    return blocks


BLOCKS = _blocks()


def test_the_page_has_a_block_for_each_way_to_buy() -> None:
    assert [(block.language, block.package) for block in BLOCKS] == [
        ("sh", ""),
        ("sh", ""),
        ("python", ""),
        ("python", "l402"),
        ("python", "l402-requests"),
        ("python", ""),
    ]


@pytest.mark.clients
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("clients")
@pytest.mark.parametrize("block", BLOCKS, ids=[block.title for block in BLOCKS])
def test_a_block_of_the_page_buys_the_weather(block: Block, gateway: Endpoints, tmp_path: Path) -> None:
    if "curl" in block.code and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    python = str(client_python(block.package)) if block.package else sys.executable
    interpreter = ["sh", "-eu"] if block.language == "sh" else [python]
    script = tmp_path / "block"
    script.write_text(block.code)
    done = subprocess.run(
        [*interpreter, str(script)],
        cwd=tmp_path,
        env=_environment(tmp_path, gateway, own=not block.package),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"sky": "clear"' in done.stdout
    assert "Traceback" not in done.stderr


def test_the_exit_codes_of_the_page_are_those_of_the_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "pay", "--help"],
        env=program_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    in_help = re.findall(
        r"^ +(\d+) +\S", done.stdout.partition("Exit codes:")[2].partition("Options:")[0], re.MULTILINE
    )
    assert in_help == re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)


def test_the_page_lists_every_code_of_the_buyers_errors() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "gateway" / "client").glob("*.py"))
    raised = set(re.findall(r'BuyerError\(\s*"(\w+)"', sources))
    assert raised
    assert raised == set(re.findall(r"`(\w+)`", PAGE.read_text().partition("| Code | Meaning |")[2])) - {"Retry-After"}


def _environment(folder: Path, gateway: Endpoints, *, own: bool) -> dict[str, str]:
    commands = folder / "commands"
    commands.mkdir()
    command = commands / "gateway"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
    command.chmod(0o755)
    base = program_environment() if own else dict(os.environ)
    return {
        **base,
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "BASE": gateway.base,
        "SIM": gateway.sim,
    }
