"""YAML text to plain values that remember where each was written.

Every scalar stays text: what ``off``, ``010``, ``10:30`` or ``1_000`` means is decided by the field that it stands in,
so YAML 1.1's guesses never happen. Nothing is constructed from tags. Size, depth and the number of values (aliases
count each time they are used) are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from gateway.config.environment import substitute
from gateway.errors import ConfigError, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 24
MAX_VALUES = 50_000

Loc = tuple[str | int, ...]
"""The way from the root to a value: mapping keys and list indexes."""
Value = str | None | tuple["Value", ...] | dict[str, "Value"]
"""Text, None where nothing is written, a list or a mapping."""
Position = tuple[int, int]
"""Line and column, counted from 1."""

_PLAIN_TAGS = frozenset({"tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_NOTHING = frozenset({"", "~", "null", "Null", "NULL"})

# PyYAML's own sentences may repeat what is in the file (an alias, a tag), which may be a secret: these stand for them.
_SYNTAX = (
    ("found character '\\t'", "a tab; YAML is indented with spaces"),
    ("found undefined alias", "an alias (*) without its anchor; quote a text that begins with '*'"),
    ("found undefined tag handle", "a tag; quote a text that begins with '!'"),
    ("found duplicate anchor", "an anchor (&) that exists already"),
    ("but found another document", "a second document; a configuration is one document"),
    (
        "mapping values are not allowed here",
        "a ':' that begins a value inside another one; check indentation, or quote",
    ),
    ("could not find expected ':'", "a key without ':'; check indentation"),
    ("found unexpected end of stream", "the file ends inside a quoted text"),
    ("found character '%'", "a text that begins with '%'; quote it"),
    ("found character '@'", "a text that begins with '@'; quote it"),
    ("found character '`'", "a text that begins with '`'; quote it"),
    (
        "found unknown escape character",
        "an unknown escape inside double quotes; single quotes take backslashes as they are",
    ),
    ("expected <block end>", "a line that doesn't fit the lines above it; check indentation"),
    ("expected ',' or ']'", "a list that isn't closed; expected ',' or ']'"),
    ("expected ',' or '}'", "a mapping that isn't closed; expected ',' or '}'"),
)


@dataclass(slots=True)
class Tree:
    """A file as plain values, with positions by way. ``broken`` holds the ways to values that could not be read."""

    file: str
    value: Value = None
    positions: dict[Loc, Position] = field(default_factory=dict)
    key_positions: dict[Loc, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[Loc] = field(default_factory=set)

    def position(self, loc: Loc, *, of_key: bool = False) -> Position:
        """Where a value (or its key) stands; the nearest enclosing one's place for a value that isn't there."""
        if of_key and loc in self.key_positions:
            return self.key_positions[loc]
        while loc and loc not in self.positions:
            loc = loc[:-1]
        return self.positions.get(loc, (1, 1))

    def line(self, loc: Loc) -> int:
        """The line that ``loc`` is written on."""
        return self.position(loc)[0]


def read_tree(raw: bytes, *, file: str, env: Mapping[str, str]) -> Tree:
    """Read one YAML document, with ``${NAME}`` replaced from ``env``.

    Raises ``ConfigError`` where the bytes are no YAML; mistakes that leave the rest readable go to ``problems``.
    """
    if len(raw) > MAX_BYTES:
        raise _refused(file, (0, 0), f"the file is larger than {MAX_BYTES >> 20} MiB")
    root = _compose(_decoded(raw, file), file)
    tree = Tree(file)
    if root is None:
        raise _refused(file, (1, 1), "the file is empty, expected the keys 'lightning' and 'services'")
    tree.value = _Walk(tree, env).value(root, ())
    return tree


def show_loc(loc: Loc) -> str:
    """``services[0].match.path``; a key that isn't a plain word is shown as ``?``, for it may be a misplaced secret."""
    shown = ""
    for part in loc:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += ("." if shown else "") + (part if is_plain_word(part) else "?")
    return shown


def is_plain_word(key: str) -> bool:
    """Whether a key may be repeated in a message: short, and of the characters that keys are made of."""
    return 0 < len(key) <= 32 and key.isascii() and key.replace("_", "").replace("-", "").isalnum() and key[0].isalpha()


def _decoded(raw: bytes, file: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise _refused(file, (line, column), "not UTF-8 text") from None


class _TextLoader(yaml.SafeLoader):
    """Composes nodes with every scalar as text, and no deeper than ``MAX_DEPTH``."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML's own name and type
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="too deep", problem_mark=self.get_mark())
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str, file: str) -> yaml.Node | None:
    loader = None
    try:
        loader = _TextLoader(text)
        node: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _refused(file, where, _explain_syntax(error.problem or error.context or "")) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = (before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        raise _refused(file, where, "a control character, which YAML does not allow") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML lets chr() and int() errors through, for instance from "\UFFFFFFFF".
        mark = loader.get_mark() if loader else None
        where = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _refused(file, where, "not YAML") from None
    return node


def _explain_syntax(problem: str) -> str:
    if problem == "too deep":
        return f"more than {MAX_DEPTH} levels inside each other"
    for beginning, meaning in _SYNTAX:
        if problem.startswith(beginning):
            return f"not YAML: {meaning}"
    return "not YAML: something unexpected here; check indentation, brackets and quotes"


def _refused(file: str, where: Position, message: str) -> ConfigError:
    return ConfigError((Problem(file, where[0], where[1], "", message),))


class _Walk:
    """From PyYAML's nodes to plain values."""

    def __init__(self, tree: Tree, env: Mapping[str, str]) -> None:
        self._tree = tree
        self._env = env
        self._seen = 0

    def value(self, node: yaml.Node, loc: Loc) -> Value:
        where = _place(node)
        self._seen += 1
        if self._seen > MAX_VALUES or len(loc) > MAX_DEPTH:
            raise _refused(self._tree.file, where, "more values than a configuration needs; aliases (*) multiply them")
        self._tree.positions[loc] = where
        if node.tag not in _PLAIN_TAGS:
            return self._broken(loc, where, "a tag (!), expected a plain value; quote a text that begins with '!'")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.value(item, (*loc, index)) for index, item in enumerate(node.value))
        assert isinstance(node, yaml.ScalarNode)  # noqa: S101 - YAML has no fourth kind
        return self._scalar(node, loc, where)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Value]:
        result: dict[str, Value] = {}
        for key_node, value_node in node.value:
            where = _place(key_node)
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in _PLAIN_TAGS or not key:
                self._problem(loc, where, "a key that is not text")
            elif key == "<<" and key_node.style is None:
                self._problem(loc, where, "a merge key (<<), which is not supported: write the keys out")
            elif key in result:
                first = self._tree.key_positions[*loc, key][0]
                self._problem((*loc, key), where, f"written twice, the first time on line {first}")
            else:
                self._tree.key_positions[*loc, key] = where
                result[key] = self.value(value_node, (*loc, key))
        return result

    def _scalar(self, node: yaml.ScalarNode, loc: Loc, where: Position) -> Value:
        if node.style is None and node.value in _NOTHING:
            return None
        try:
            text = substitute(node.value, self._env)
        except ValueError as error:
            return self._broken(loc, where, str(error))
        if any("\ud800" <= character <= "\udfff" for character in text):
            return self._broken(loc, where, "not text: half of a surrogate pair")
        return text

    def _broken(self, loc: Loc, where: Position, message: str) -> Value:
        """What stands for a value that could not be read: nothing."""
        self._tree.broken.add(loc)
        self._problem(loc, where, message)
        return None

    def _problem(self, loc: Loc, where: Position, message: str) -> None:
        self._tree.problems.append(Problem(self._tree.file, where[0], where[1], show_loc(loc), message))


def _place(node: yaml.Node) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1
