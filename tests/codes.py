"""The stable error codes that the package's source writes where it raises them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import gateway

PACKAGE = Path(gateway.__file__).parent


def modules() -> Iterator[ast.Module]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ast.parse(path.read_text())


def codes_given_to(*carriers: str) -> set[str]:
    """The texts that stand as first argument of a call of one of these names."""
    calls = (node for module in modules() for node in ast.walk(module) if isinstance(node, ast.Call) and node.args)
    firsts = (call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id in carriers)
    return {first.value for first in firsts if isinstance(first, ast.Constant) and isinstance(first.value, str)}
