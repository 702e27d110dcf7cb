"""The table of error codes and the code that raises them say the same."""

from __future__ import annotations

import ast

from gateway.errors import Fault
from gateway.server.answers import CLOSING, STATUS
from tests.codes import codes_given_to, modules

TABLES = {"STATUS", "CLOSING"}


def words_outside_the_tables() -> set[str]:
    """Every string in the package that does not stand in one of the tables themselves."""
    statements = (statement for module in modules() for statement in module.body)
    kept = (statement for statement in statements if assigned(statement) not in TABLES)
    nodes = (node for statement in kept for node in ast.walk(statement))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def assigned(statement: ast.stmt) -> str | None:
    """The module's name that a statement gives a value to."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign):
        return None
    target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
    return target.id if isinstance(target, ast.Name) else None


def test_every_code_that_is_raised_has_a_status() -> None:
    raised = codes_given_to("RequestError", "Refuse", "NoRoute", "error_answer")
    assert len(raised) > 15
    assert raised - set(STATUS) == set()


def test_every_code_with_a_status_is_raised_somewhere() -> None:
    assert set(STATUS) - words_outside_the_tables() == set()


def test_codes_after_which_the_connection_ends_have_a_status() -> None:
    assert CLOSING - set(STATUS) == set()


def test_no_code_asks_for_payment_and_refuses_too() -> None:
    assert set(STATUS) & set(Fault) == set()
