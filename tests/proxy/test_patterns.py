from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.proxy.patterns import PathPattern, covers, parse_pattern, shadows
from gateway.proxy.services import Pattern
from tests.conftest import SCALE
from tests.proxy.path_models import price_of


@pytest.mark.parametrize(
    ("text", "segments", "below"),
    [
        ("/", ("",), False),
        ("/**", (), True),
        ("/a", ("a",), False),
        ("/a/", ("a", ""), False),
        ("/a/**", ("a",), True),
        ("/a/*/c", ("a", None, "c"), False),
        ("/*", (None,), False),
        ("/*/**", (None,), True),
        ("/café/a%20b", ("café", "a b"), False),
        ("/caf%C3%A9", ("café",), False),
        ("/v1/models:run", ("v1", "models:run"), False),
        ("/.well-known/**", (".well-known",), True),
        ("/%3Aid", (":id",), False),
    ],
)
def test_patterns_are_whole_segments(text: str, segments: tuple[str | None, ...], below: bool) -> None:
    assert parse_pattern(text) == PathPattern(segments, below)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a/b", "starts with '/'"),
        ("", "starts with '/'"),
        ("**", "starts with '/'"),
        ("/a//b", "empty segment"),
        ("//", "empty segment"),
        ("/a//**", "empty segment"),
        ("/a*", "whole segment"),
        ("/**/a", "only at the end"),
        ("/a/**/", "only at the end"),
        ("/a/***", "whole segment"),
        ("/a/../b", "no accepted request"),
        ("/./a", "no accepted request"),
        ("/a%2Fb", "no accepted request"),
        ("/a%00", "no accepted request"),
        ("/%2e%2e", "no accepted request"),
        ("/a%25", "no accepted request"),
        ("/a\tb", "no accepted request"),
        ("/a?x=1", "no query"),
        ("/a#b", "no query"),
        ("/a;v=1", "no query"),
        ("/a\\b", "no query"),
        ("/a%", "no query"),
        ("/a%zz", "no query"),
        ("/users/{id}", "written '*'"),
        ("/users/<id>", "written '*'"),
        ("/users/:id", "written '*'"),
    ],
)
def test_a_pattern_that_would_never_match_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=r"path|segment|'\*'") as caught:
        parse_pattern(text)
    assert hint in str(caught.value)


_WORDS = ["a", "b", "*", ""]
_PATTERNS = st.tuples(st.lists(st.sampled_from(_WORDS[:3]), max_size=3), st.sampled_from(["", "/**", "/"])).map(
    lambda parts: "".join(f"/{word}" for word in parts[0]) + parts[1] or "/"
)
# 'z' stands for every word that no pattern names; longer paths than any pattern show what /** covers.
_ALL_PATHS = [
    "/" + "/".join(segments) + end
    for length in range(1, 6)
    for segments in product("abz", repeat=length)
    for end in ("", "/")
] + ["/"]


def matched(pattern: str) -> set[str]:
    return {path for path in _ALL_PATHS if price_of([(pattern, 1)], path)}


@settings(max_examples=int(300 * SCALE))
@given(outer=_PATTERNS, inner=_PATTERNS)
def test_covers_is_what_the_paths_say(outer: str, inner: str) -> None:
    assert covers(parse_pattern(outer), parse_pattern(inner)) == (matched(inner) <= matched(outer))


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("/a", "/a", True),
        ("/a", "/a/**", False),
        ("/a/**", "/a/**", True),
        ("/a/**", "/a/", True),
        ("/**", "/", True),
        ("/*", "/a", True),
        ("/*", "/", False),
        ("/*/**", "/**", False),
        ("/a/*", "/a/**", False),
        ("/a/b", "/a/*", False),
        ("/a/*/**", "/a/b/c/**", True),
        ("/a/b/**", "/a/**", False),
    ],
)
def test_covers_by_example(outer: str, inner: str, expected: bool) -> None:
    assert covers(parse_pattern(outer), parse_pattern(inner)) is expected


@pytest.mark.parametrize(
    ("earlier", "later", "expected"),
    [
        (Pattern(), Pattern("a.example", "/x", frozenset({"GET"})), True),
        (Pattern("a.example"), Pattern(), False),
        (Pattern("*.example"), Pattern("a.example"), True),
        (Pattern("*.example"), Pattern("*.a.example"), True),
        (Pattern("*.a.example"), Pattern("*.example"), False),
        (Pattern("*.example"), Pattern("example"), False),
        (Pattern("*.example"), Pattern("anexample"), False),
        (Pattern(methods=frozenset({"GET"})), Pattern(), False),
        (Pattern(methods=frozenset({"GET"})), Pattern(methods=frozenset({"HEAD"})), True),
        (Pattern(methods=frozenset({"HEAD"})), Pattern(methods=frozenset({"GET"})), False),
        (Pattern(methods=frozenset({"GET", "POST"})), Pattern(methods=frozenset({"POST"})), True),
        (Pattern(path="/a/**"), Pattern(path="/a"), True),
        (Pattern(path="/a"), Pattern(path="/a/"), False),
    ],
)
def test_a_row_is_shadowed_when_an_earlier_one_takes_all_of_it(
    earlier: Pattern, later: Pattern, expected: bool
) -> None:
    assert shadows(earlier, later) is expected
