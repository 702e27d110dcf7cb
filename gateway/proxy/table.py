"""The route table: the first row whose host, path and method fit decides; nothing fits by accident.

Rows are filed under their host and then segment by segment, so that a look-up walks the request and not the rows: its
cost does not grow with the number of services.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from gateway.paywall.terms import Auth
from gateway.proxy.hosts import canonical_host_pattern
from gateway.proxy.paths import Target, canonical_target, rewritten_path
from gateway.proxy.patterns import PathPattern, admitted_methods, parse_pattern
from gateway.proxy.services import Route


@dataclass(frozen=True, slots=True)
class NoRoute:
    """Why no row fits; ``allow`` lists the methods that would, in alphabetical order, for ``method_not_allowed``."""

    code: Literal["not_found", "method_not_allowed", "unknown_host"]
    allow: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where a request goes: its canonical ``path``, its route, and the ``target`` for the upstream ('' without)."""

    path: str
    route: Route | NoRoute
    target: str


MAX_PLACES = 2_048
MAX_REMEMBERED_TARGET = 256
"""Request targets up to this length (characters) are remembered with their place; about 2 MB in all."""


@dataclass(slots=True)
class _Rows:
    """Rows filed at one place, of which only the first for each method can ever decide."""

    by_method: dict[str, int] = field(default_factory=dict)
    any_method: int | None = None

    def add(self, row: int, methods: frozenset[str]) -> None:
        if self.any_method is not None:
            return
        if not methods:
            self.any_method = row
        for method in admitted_methods(methods):
            self.by_method.setdefault(method, row)

    def first(self, method: str) -> int | None:
        return self.by_method.get(method, self.any_method)


@dataclass(slots=True)
class _Node:
    """A place in the tree of segments: ``exact`` rows end here, ``below`` rows take this path and all under it."""

    children: dict[str, _Node] = field(default_factory=dict)
    wildcard: _Node | None = None
    exact: _Rows | None = None
    below: _Rows | None = None

    def add(self, pattern: PathPattern, row: int, methods: frozenset[str]) -> None:
        node = self
        for segment in pattern.segments:
            if segment is None:
                node.wildcard = node.wildcard or _Node()
                node = node.wildcard
            else:
                node = node.children.setdefault(segment, _Node())
        if pattern.below:
            node.below = node.below or _Rows()
            node.below.add(row, methods)
        else:
            node.exact = node.exact or _Rows()
            node.exact.add(row, methods)

    def first(self, segments: tuple[str, ...], method: str) -> int | None:
        """Return the smallest row of every pattern that fits. A node is visited once at most."""
        found: int | None = None
        branches = [(self, 0)]
        while branches:
            node, depth = branches.pop()
            if depth < len(segments):
                segment = segments[depth]
                if (child := node.children.get(segment)) is not None:
                    branches.append((child, depth + 1))
                if node.wildcard is not None and segment:
                    branches.append((node.wildcard, depth + 1))
            elif node.exact is not None:
                found = _earlier(found, node.exact.first(method))
            if node.below is not None:
                found = _earlier(found, node.below.first(method))
        return found


class RouteTable:
    """An immutable list of routes and the index over it. Reloading makes a new table.

    Raises ``ValueError`` for a pattern that ``parse_pattern`` or ``canonical_host_pattern`` refuses.
    """

    __slots__ = ("_any_host", "_hosts", "_methods", "_places", "_routes", "_wildcards")

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)
        self._places: dict[tuple[str, str, str, str], Place] = {}
        self._any_host: _Node | None = None
        self._hosts: dict[str, _Node] = {}
        self._wildcards: dict[str, _Node] = {}
        self._methods = sorted({method for route in self._routes for method in admitted_methods(route.pattern.methods)})
        for row, route in enumerate(self._routes):
            self._tree(canonical_host_pattern(route.pattern.host)).add(
                parse_pattern(route.pattern.path), row, route.pattern.methods
            )

    @property
    def routes(self) -> tuple[Route, ...]:
        """The rows in the order in which they are tried."""
        return self._routes

    def place(self, raw: str, *, scheme: str, host: str, method: str) -> Place:
        """Read the request target ``raw`` and find its route; what was found once is remembered.

        Raises what ``canonical_target`` raises. ``scheme`` and ``host`` are as there, ``method`` as in ``match``.
        """
        key = (raw, host, method, scheme)
        known = self._places.get(key)
        if known is not None:
            return known
        target = canonical_target(raw, scheme=scheme, host=host)
        route = self.match(host, target, method)
        if isinstance(route, NoRoute):
            return Place(target.path, route, "")
        place = Place(target.path, route, rewritten_path(target, route.service.rewrite))
        if len(raw) <= MAX_REMEMBERED_TARGET:
            if len(self._places) >= MAX_PLACES:
                self._places.clear()
            self._places[key] = place
        return place

    def match(self, host: str, target: Target, method: str) -> Route | NoRoute:
        """Find the first row that fits, by a host as ``canonical_host`` returns it ('' without one).

        A row with GET takes HEAD too. Where servers read the path in several ways (``Target.readings``) and the
        readings fit different rows, the one that asks for more decides: a cheap route next to a dear one cannot be
        used to reach what the upstream files under the dear one.
        """
        trees = self._trees(host)
        row = _first(trees, target.segments, method)
        if row is None:
            return self._refusal(trees, target.segments)
        if not target.readings:
            return self._routes[row]
        readings = (_first(trees, segments, method) for segments in target.readings)
        rows = [row, *(other for other in readings if other is not None)]
        return max((self._routes[index] for index in rows), key=_asks)

    def _tree(self, host: str) -> _Node:
        if host == "":
            self._any_host = self._any_host or _Node()
            return self._any_host
        if host.startswith("*."):
            return self._wildcards.setdefault(host[2:], _Node())
        return self._hosts.setdefault(host, _Node())

    def _trees(self, host: str) -> list[_Node]:
        """The trees of every host pattern that fits; wildcards cost one look-up per dot in the name."""
        trees = [] if self._any_host is None else [self._any_host]
        if self._hosts and (tree := self._hosts.get(host)) is not None:
            trees.append(tree)
        if self._wildcards:
            _, _, parent = host.partition(".")
            while parent:
                if (tree := self._wildcards.get(parent)) is not None:
                    trees.append(tree)
                _, _, parent = parent.partition(".")
        return trees

    def _refusal(self, trees: list[_Node], segments: tuple[str, ...]) -> NoRoute:
        if not trees and self._routes:
            return NoRoute("unknown_host")
        allow = tuple(method for method in self._methods if _first(trees, segments, method) is not None)
        return NoRoute("method_not_allowed", allow) if allow else NoRoute("not_found")


def _first(trees: list[_Node], segments: tuple[str, ...], method: str) -> int | None:
    found: int | None = None
    for tree in trees:
        found = _earlier(found, tree.first(segments, method))
    return found


def _earlier(row: int | None, other: int | None) -> int | None:
    return other if row is None or (other is not None and other < row) else row


def _asks(route: Route) -> tuple[bool, int]:
    terms = route.terms
    return (not terms.free and terms.auth is Auth.REQUIRED, terms.price_msat)
