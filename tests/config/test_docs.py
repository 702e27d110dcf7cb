"""docs/configure.md: what it shows works, and what it quotes is what is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.config.written import load, refused

PAGE = (Path(__file__).parents[2] / "docs" / "configure.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_shows_configurations() -> None:
    assert len(BLOCKS) >= 3
    assert len(PAGE.splitlines()) < 120


@pytest.mark.parametrize("block", BLOCKS)
def test_every_configuration_on_the_page_loads(tmp_path: Path, block: str) -> None:
    for name in ("tls.cert", "gateway.macaroon"):
        (tmp_path / name).write_bytes(b"x")
    variables = set(re.findall(r"\$\{(\w+)\}", block))
    assert load(tmp_path, block, dict.fromkeys(variables, "secret")).warnings == ()


def test_the_quoted_messages_are_the_printed_ones(tmp_path: Path) -> None:
    text = "lightning: {backend: simulated}\nservices:\n- name: a\n  upstream: demo\n  match: {}\n"
    text += "    price: 10\n    valid_fro: 1h\n".replace("    ", "  ")
    messages = refused(tmp_path, text.replace("- name", "  - name").replace("\n  ", "\n    ").replace("    - ", "  - "))
    quoted = re.findall(r"^gateway\.yaml:(\d.*)$", PAGE, re.MULTILINE)
    assert len(quoted) == 2
    assert messages == quoted
