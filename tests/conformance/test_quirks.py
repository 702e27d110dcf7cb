"""The tables are whole, and what they decide otherwise is written down."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance import test_connections
from tests.conformance.answers import ANSWERS, Served
from tests.conformance.rows import Row
from tests.conformance.test_requests import ROWS

QUIRKS = Path(__file__).with_name("quirks.md").read_text()
TABLES: tuple[Row | Served, ...] = (*ROWS, *ANSWERS)
CASES = {*(f"R{n:02}" for n in range(1, 84)), *(f"S{n:02}" for n in range(1, 26)), *(f"K{n:02}" for n in range(1, 10))}


def test_every_case_is_a_row_or_a_test_of_its_own() -> None:
    rows = {row.case for row in TABLES}
    tests = {match[1] for name in dir(test_connections) if (match := re.match(r"test_([RSK]\d\d)_", name))}
    assert rows | tests == CASES


def test_every_quirk_is_explained_and_every_explanation_is_a_quirk() -> None:
    headings = re.findall(r"^## (.*)$", QUIRKS, re.MULTILINE)
    explained = [case for heading in headings for case in heading.split(", ")]
    assert len(set(explained)) == len(explained)
    assert set(explained) == {row.case for row in TABLES if row.quirk}


def test_no_two_rows_are_called_alike() -> None:
    for rows in (ROWS, ANSWERS):
        names = [str(row) for row in rows]
        assert sorted(set(names)) == sorted(names)
