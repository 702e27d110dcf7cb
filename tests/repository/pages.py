"""The repository's Markdown pages: files, fenced blocks, links."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """``language`` is what stands behind the opening fence."""

    language: str
    code: str


@cache
def repository_files() -> tuple[Path, ...]:
    """What git knows or would take in; generated and ignored files are not ours to check."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return tuple(path for name in listed if name and (path := REPOSITORY / name).is_file())


def pages() -> list[Path]:
    """Every Markdown file."""
    return [path for path in repository_files() if path.suffix == ".md"]


def blocks(page: str, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, those in ``language`` only if it is given."""
    found = [Block(*match) for match in _FENCED.findall((REPOSITORY / page).read_text())]
    return [block for block in found if language is None or block.language == language]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """What ``page#…`` may name: its headings as GitHub writes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
