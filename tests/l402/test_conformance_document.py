"""The conformance table is complete and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NUMBERS = [
    *range(1, 9),
    *range(10, 26),
    *range(30, 37),
    *range(40, 49),
    *range(50, 59),
    *range(60, 73),
    *range(80, 84),
    *range(90, 96),
]
ROWS = re.findall(r"^\| L(\d+) \| (.+?) \| (.+) \|$", (ROOT / "docs" / "conformance.md").read_text(), re.MULTILINE)
TEST_IDS = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_statement_has_one_row_in_order() -> None:
    assert [int(number) for number, _, _ in ROWS] == NUMBERS


@pytest.mark.parametrize(("number", "statement", "where"), ROWS, ids=[f"L{number}" for number, _, _ in ROWS])
def test_a_row_names_existing_tests_of_its_statement_or_says_why_not(number: str, statement: str, where: str) -> None:
    assert len(statement.split()) <= 15
    tests = TEST_IDS.findall(where)
    for file, name in tests:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file} has no {name}"
        assert re.search(rf"_L{number}_", name), f"{name} does not name L{number}"
    assert tests or where.startswith(("Not done", "Partly"))
