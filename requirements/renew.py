"""Renew the lock files from pyproject.toml: exact versions with hashes, for every platform and Python, no addresses.

``python requirements/renew.py`` keeps what is locked and still fits; ``--upgrade`` takes the newest of everything.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COMMON = ("--universal", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--quiet")


def compile_lock(name: str, *sources: str) -> None:
    """Write ``requirements/<name>.lock``."""
    command = ["uv", "pip", "compile", *COMMON, *sys.argv[1:], *sources, "-o", str(HERE / f"{name}.lock")]
    subprocess.run([sys.executable, "-m", *command], check=True, cwd=HERE.parent)  # noqa: S603 - our own words


# PostgreSQL's driver is in both: a container's configuration decides, not its image.
compile_lock("run", "pyproject.toml", "requirements/build.in", "--extra", "postgres")
compile_lock("dev", "pyproject.toml", "--group", "dev", "-c", "requirements/run.lock")
