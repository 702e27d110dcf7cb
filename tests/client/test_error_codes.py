"""The buyer's error codes: raised, documented, and turned into exit codes."""

from __future__ import annotations

import re

from gateway.cli.pay import _EXITS
from tests.codes import codes_given_to
from tests.repository.pages import REPOSITORY


def test_every_code_that_the_buyer_raises_is_on_its_page_and_no_other() -> None:
    raised = codes_given_to("BuyerError")
    rows = re.findall(r"^\| (`[^|]*`) \| ", (REPOSITORY / "docs/buy.md").read_text(), re.MULTILINE)
    documented = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)}
    assert len(raised) > 15
    assert documented == raised


def test_every_code_with_an_exit_code_is_raised() -> None:
    assert set(_EXITS) - codes_given_to("BuyerError") == set()
