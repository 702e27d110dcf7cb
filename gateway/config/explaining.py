"""From pydantic's errors to problems with a place in the file; and the same file without its mistakes.

The second half lets the checks across fields run on a file that has mistakes, so that all are reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from gateway.config.fields import PROBLEM, Text, what_is
from gateway.config.models import (
    FORMS,
    Configuration,
    LndLightning,
    RouteEntry,
    ServiceEntry,
    ServiceMatch,
    SimulatedLightning,
    UpstreamTimeouts,
)
from gateway.config.suggestions import closest, did_you_mean
from gateway.config.yaml_tree import Loc, Tree, Value, is_plain_word, show_loc
from gateway.errors import Problem

_MAPPING = "a mapping (key: value)"
_LIST = "a list (- item)"
_KINDS = {"model_type": _MAPPING, "dict_type": _MAPPING, "tuple_type": _LIST, "too_short": "at least one item"}
_PLACES: dict[str, type[BaseModel]] = {
    "the top level": Configuration,
    "lightning with backend simulated": SimulatedLightning,
    "lightning with backend lnd": LndLightning,
    "a service": ServiceEntry,
    "a service's match": ServiceMatch,
    "a service's timeouts": UpstreamTimeouts,
    "a route": RouteEntry,
}
_STAND_IN_SERVICE: Value = {"name": "stand-in", "upstream": "demo", "price": "free"}
_STAND_INS: dict[str, Value] = {
    "lightning": {"backend": "simulated"},
    "services": (_STAND_IN_SERVICE,),
    "backend": "simulated",
    "network": "regtest",
    "address": "stand-in.invalid:1",
    "tls_cert": "stand-in",
    "macaroon": "stand-in",
    "match": {"path": "/stand-in"},
    "name": "stand-in",
    "upstream": "demo",
}
_STAND_IN_ITEMS: dict[str, Value] = {
    "services": _STAND_IN_SERVICE,
    "routes": {"match": {"path": "/stand-in"}, "price": "free"},
}
"""What takes the place of a required value that is missing or wrong, until the checks have run."""


def explain(errors: Sequence[ErrorDetails], tree: Tree) -> tuple[list[Problem], dict[Loc, Value]]:
    """The problems behind pydantic's errors; and what they are about: the way to each, and its stand-in or None."""
    problems: list[Problem] = []
    meant = {loc for error in errors if (loc := _meant_by(error)) is not None}
    wrong: dict[Loc, Value] = dict.fromkeys(meant)
    for error in errors:
        loc = _plain(error["loc"])
        at = _at(tree.value, loc)
        if error["type"] == "too_short" and at:
            continue  # its items are wrong, not their number
        wrong.update([_repair(error["loc"])] if loc else [])
        if loc not in tree.broken and (error["type"] != "missing" or loc not in meant):
            problems.append(_problem(error, loc, at, tree))
    return problems, wrong


def without_mistakes(value: Value, wrong: Mapping[Loc, Value], loc: Loc = ()) -> Value:
    """The same values, with those at ``wrong`` left out or replaced by their stand-ins."""
    if isinstance(value, tuple):
        items = enumerate(value)
        return tuple(wrong.get((*loc, i)) or without_mistakes(item, wrong, (*loc, i)) for i, item in items)
    if not isinstance(value, dict):
        return value
    right = {key: item for key, item in value.items() if (*loc, key) not in wrong}
    repaired = {key: without_mistakes(item, wrong, (*loc, key)) for key, item in right.items()}
    stand_ins = {key: item for key in _STAND_INS if (item := wrong.get((*loc, key))) is not None}
    return repaired | stand_ins


def _problem(error: ErrorDetails, loc: Loc, at: Value, tree: Tree) -> Problem:
    kind = error["type"]
    of_key = kind == "extra_forbidden" or error["loc"][-1:] == ("[key]",)
    line, column = tree.position(loc, of_key=of_key)
    shown = loc[:-1] if kind == "extra_forbidden" else loc
    return Problem(tree.file, line, column, show_loc(shown), _message(error, loc, at))


def _message(error: ErrorDetails, loc: Loc, at: Value) -> str:
    kind = error["type"]
    if kind == PROBLEM:
        return error["msg"]
    if kind == "missing":
        return f"missing, expected {_expected(error['loc'])}"
    if kind == "extra_forbidden":
        return _unknown_key(error, str(loc[-1]))
    if kind == "too_long":
        return f"too many, expected at most {error['ctx']['max_length']}"
    found = "an empty list" if kind == "too_short" else what_is(at)
    return f"{found}, expected {_KINDS.get(kind, 'something else')}"


def _unknown_key(error: ErrorDetails, key: str) -> str:
    model = _model_at(error["loc"][:-1])
    known = list(model.model_fields) if model else []
    name = f" '{key}'" if is_plain_word(key) else ""
    elsewhere = [place for place, other in _PLACES.items() if key in other.model_fields]
    if elsewhere:
        return f"unknown key{name} here (it belongs to {' or '.join(elsewhere)})"
    return f"unknown key{name}" + (did_you_mean(key, known) or f", expected {', '.join(known)}")


def _meant_by(error: ErrorDetails) -> Loc | None:
    """Where an unknown key is a misspelt one, the way to that one: no need to call it missing too."""
    if error["type"] != "extra_forbidden":
        return None
    loc, model = _plain(error["loc"]), _model_at(error["loc"][:-1])
    elsewhere = any(loc[-1] in other.model_fields for other in _PLACES.values())
    close = None if elsewhere else closest(str(loc[-1]), list(model.model_fields) if model else [])
    return (*loc[:-1], close) if close else None


def _expected(where: Sequence[str | int]) -> str:
    model = _model_at(where[:-1])
    field = model.model_fields.get(str(where[-1])) if model else None
    texts = [item.expected for item in (field.metadata if field else ()) if isinstance(item, Text)]
    return texts[0] if texts else (_LIST if where[-1] == "services" else _MAPPING)


def _repair(where: Sequence[str | int]) -> tuple[Loc, Value]:
    """What must be replaced for the rest to be readable, and by what; None = by nothing."""
    loc = _plain(where)
    if isinstance(loc[-1], int) and loc[-2] in _STAND_IN_ITEMS:
        return loc, _STAND_IN_ITEMS[str(loc[-2])]
    while isinstance(loc[-1], int):
        loc, where = loc[:-1], where[:-1]
    model = _model_at(where[:-1])
    field = model.model_fields.get(str(loc[-1])) if model else None
    if field is None or not field.is_required():
        return loc, None
    stand_in = _STAND_INS.get(str(loc[-1]))
    return (loc, stand_in) if stand_in is not None else (loc[:-1], None)


def _plain(where: Sequence[str | int]) -> Loc:
    return tuple(part for part in where if part not in FORMS and part != "[key]")


def _at(value: Value, loc: Loc) -> Value:
    for part in loc:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, tuple) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def _model_at(loc: Sequence[str | int]) -> type[BaseModel] | None:
    """The model whose keys stand at a location of pydantic's."""
    model: type[BaseModel] | None = Configuration
    for part in loc:
        if part in FORMS:
            model = FORMS[str(part)]
        elif isinstance(part, str):
            field = model.model_fields.get(part) if model else None
            model = _model_in(field.annotation) if field else None
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg)) is not None), None)
