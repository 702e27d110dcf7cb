"""The tree of errors that the docstring draws is the one that the classes make."""

from __future__ import annotations

import re

from gateway import errors
from gateway.errors import GatewayError

_BRANCH = re.compile(r"^    ([│ ]*)[├└]── (\w+)", re.MULTILINE)
_INDENT = 4


def drawn() -> dict[str, str]:
    """Each error's name and its parent's."""
    parents: dict[str, str] = {}
    path = ["GatewayError"]
    for margin, name in _BRANCH.findall(errors.__doc__ or ""):
        depth = len(margin) // _INDENT + 1
        parents[name] = path[depth - 1]
        path[depth:] = [name]
    return parents


def defined() -> dict[str, str]:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GatewayError)]
    return {kind.__name__: kind.__bases__[0].__name__ for kind in found if kind is not GatewayError}


def test_the_drawn_tree_holds_every_error_below_its_parent() -> None:
    assert len(defined()) > 15
    assert drawn() == defined()
