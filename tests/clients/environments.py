"""Environments for real L402 client packages: one each under ``.clients/``, installed from hash-pinned locks.

A lock is renewed with ``echo l402==0.0.9 | uv pip compile --universal --generate-hashes --no-header --no-annotate
--no-emit-index-url --python-version 3.11 - -o tests/clients/l402.lock``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
INSTALL_TIMEOUT_S = 480
_NO_REGISTRY = (
    "Retrying (",
    "Temporary failure in name resolution",
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
)


def client_python(name: str) -> Path:
    """The interpreter of the environment for ``<name>.lock``, made where it is not there yet or the lock changed.

    Skips the test where that needs a package registry and none answers.
    """
    folder = ROOT / ".clients"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.flock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = folder / name
        wanted = hashlib.sha256((HERE / f"{name}.lock").read_bytes() + sys.version.encode()).hexdigest()
        stamp = environment / "installed"
        if not stamp.is_file() or stamp.read_text() != wanted:
            shutil.rmtree(environment, ignore_errors=True)
            _install(environment, HERE / f"{name}.lock")
            stamp.write_text(wanted)
    return environment / "bin" / "python"


def run_script(python: Path, script: Path, folder: Path, **settings: str) -> str:
    """Run a buyer's script in its environment and give what it printed; its errors fail the test."""
    done = subprocess.run(
        [python, script],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONWARNINGS": "default", **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{script.name} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _install(environment: Path, lock: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=INSTALL_TIMEOUT_S)
    done = subprocess.run(
        [environment / "bin" / "pip", "install", "--quiet", "--retries", "2", "--require-hashes", "-r", lock],
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode == 0:
        return
    shutil.rmtree(environment, ignore_errors=True)
    said = done.stdout + done.stderr
    if any(sign in said for sign in _NO_REGISTRY):
        pytest.skip(f"the package registry does not answer, and {lock.stem} is not installed yet")
    pytest.fail(f"{lock.name} cannot be installed:\n{said}")
