"""Read a configuration file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from gateway.config.advice import advise
from gateway.config.checks import Finding, check
from gateway.config.compile import compile_rows, compile_settings
from gateway.config.explaining import explain, without_mistakes
from gateway.config.models import Configuration
from gateway.config.settings import Settings
from gateway.config.yaml_tree import MAX_BYTES, Loc, Tree, Value, read_tree, show_loc
from gateway.errors import ConfigError, Problem


def load_settings(path: Path, env: Mapping[str, str]) -> Settings:
    """Everything that ``path`` says, with ``${NAME}`` taken from ``env`` and files relative to its folder.

    Raises ``ConfigError`` with all mistakes, and nothing else.
    """
    file = str(path)
    try:
        with path.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
        folder = path.absolute().parent  # not resolved: mounted files are links to folders that come and go
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a file name"
        raise ConfigError((Problem(file, 0, 0, "", f"cannot be read: {reason.lower()}"),)) from None
    tree = read_tree(raw, file=file, env=env)
    configuration, problems = _validated(tree, folder)
    if configuration is None or problems:
        raise ConfigError(_in_order(problems))
    rows = compile_rows(configuration)
    warnings = _in_order(_problems(tree, advise(configuration, rows, tree.line)))
    return compile_settings(configuration, rows, source=path.absolute(), warnings=warnings)


def _validated(tree: Tree, folder: Path) -> tuple[Configuration | None, list[Problem]]:
    problems = list(tree.problems)
    wrong: dict[Loc, Value] = {}
    configuration = None
    try:
        configuration = Configuration.model_validate(tree.value, context=folder)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        found, wrong = explain(details, tree)
        problems += found
        configuration = _repaired(tree, wrong, folder)
    if configuration is not None:
        in_doubt = _doubtful(wrong)
        certain = (finding for finding in check(configuration, tree.line) if not any(map(in_doubt, finding.needs)))
        problems += _problems(tree, certain)
    return configuration, problems


def _repaired(tree: Tree, wrong: Mapping[Loc, Value], folder: Path) -> Configuration | None:
    try:
        return Configuration.model_validate(without_mistakes(tree.value, wrong), context=folder)
    except ValidationError:
        return None


def _doubtful(wrong: Iterable[Loc]) -> Callable[[Loc], bool]:
    """Tell whether a wrong value stands at a way, above it or below it."""
    at = set(wrong)
    above = {loc[:length] for loc in at for length in range(len(loc))}
    return lambda need: need in above or any(need[:length] in at for length in range(1, len(need) + 1))


def _problems(tree: Tree, findings: Iterable[Finding]) -> list[Problem]:
    return [Problem(tree.file, *tree.position(at.loc), show_loc(at.loc), at.message) for at in findings]


def _in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
