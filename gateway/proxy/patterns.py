"""Path patterns of routes: whole segments, ``*`` for one of them, a final ``/**`` for everything below."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.proxy.paths import decoded
from gateway.proxy.services import Pattern

_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A pattern's segments, decoded, None for ``*``; ``below`` where ``/**`` follows them.

    ``/a/b`` is that path only, ``/a/b/`` another one (``('a', 'b', '')``); ``/a/**`` is ``/a``, ``/a/`` and everything
    below; ``*`` stands for one segment that is not empty.
    """

    segments: tuple[str | None, ...]
    below: bool


def parse_pattern(text: str) -> PathPattern:
    """Read a path pattern. Raises ``ValueError`` saying what is wrong and what was probably meant.

    Literal segments may be written plain or percent-encoded (UTF-8); matching is case-sensitive.
    """
    if not text.startswith("/"):
        raise ValueError(f"a path pattern starts with '/': '/{text}'?")
    parts = text[1:].split("/")
    below = parts[-1] == "**"
    if below:
        parts.pop()
    if "" in parts[: len(parts) if below else -1]:
        raise ValueError("a path pattern has no empty segment ('//'): such paths are never served")
    return PathPattern(tuple(map(_segment, parts)), below)


def covers(outer: PathPattern, inner: PathPattern) -> bool:
    """Tell whether every path that ``inner`` matches is matched by ``outer`` too."""
    ours, theirs = outer.segments, inner.segments
    long_enough = len(ours) <= len(theirs) if outer.below else len(ours) == len(theirs) and not inner.below
    return long_enough and all(
        mine == other or (mine is None and other != "") for mine, other in zip(ours, theirs, strict=False)
    )


def shadows(earlier: Pattern, later: Pattern) -> bool:
    """Tell whether the ``later`` row of a table can never match because of the ``earlier`` one alone."""
    return (
        _host_covers(earlier.host, later.host)
        and _methods_cover(earlier.methods, later.methods)
        and covers(parse_pattern(earlier.path), parse_pattern(later.path))
    )


def admitted_methods(methods: frozenset[str]) -> frozenset[str]:
    """Return the methods that a row with ``methods`` answers: where GET is, HEAD is too (RFC 9110 section 9.3.2)."""
    return methods | {"HEAD"} if "GET" in methods else methods


def _segment(text: str) -> str | None:
    if text == "*":
        return None
    if "*" in text:
        raise ValueError("'*' stands for one whole segment, '**' for all that follows and only at the end: '/a/*/b/**'")
    if text.startswith(":") or any(mark in text for mark in "{}<>"):
        raise ValueError(
            "a segment that varies is written '*', as in '/users/*/orders' (a literal ':' in front as '%3A')"
        )
    if any(mark in text for mark in "?#;\\") or _ESCAPE.search(text):
        raise ValueError("a path pattern has no query, fragment, parameters or backslash, and '%' only in escapes")
    segment = decoded(text)
    if segment in {".", ".."} or any(ord(character) < 0x20 or character in '%/\\;\x7f"^`|' for character in segment):
        raise ValueError("a path pattern holds a segment that no accepted request can have")
    return segment


def _host_covers(outer: str, inner: str) -> bool:
    if outer in {"", inner}:
        return True
    return outer.startswith("*.") and inner.endswith(outer[1:])


def _methods_cover(outer: frozenset[str], inner: frozenset[str]) -> bool:
    return not outer or (bool(inner) and admitted_methods(inner) <= admitted_methods(outer))
