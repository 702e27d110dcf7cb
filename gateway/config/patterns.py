"""Paths and methods as a configuration writes them. No ``ValueError`` repeats the text."""

from __future__ import annotations

import re

from gateway.config.suggestions import did_you_mean
from gateway.proxy.patterns import admitted_methods, covers, parse_pattern
from gateway.proxy.request_head import COMMON_METHODS

_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()+,=:@-]+)+", re.ASCII)

METHODS = (
    *COMMON_METHODS,
    *("PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "QUERY"),
)
"""What a route may name: RFC 9110 without CONNECT and TRACE, RFC 5789, WebDAV and QUERY."""


def parse_path_pattern(text: str) -> str:
    """Check a pattern (see ``gateway.proxy.patterns``); it comes back as it was written."""
    if not text.startswith("/"):
        raise ValueError("no '/' in front")
    if not text.isprintable():
        raise ValueError("a character that no path has")
    parse_pattern(text)
    return text


def parse_prefix(text: str) -> str:
    """Check ``/segments`` to add to or take off a path: no final '/', nothing that needs percent-encoding."""
    if _PREFIX.fullmatch(text) is None or not is_free_of_dots(text):
        raise ValueError("not a plain path")
    return text


def parse_method(text: str) -> str:
    """Check an HTTP method; methods are case-sensitive (RFC 9110 section 9.1)."""
    if text not in METHODS:
        raise ValueError("not a method that can be sold" + did_you_mean(text, METHODS))
    return text


def is_inside(path: str, outer: str) -> bool:
    """Whether pattern ``outer`` matches every path that pattern ``path`` matches."""
    return covers(parse_pattern(outer), parse_pattern(path))


def begins_with(path: str, prefix: str) -> bool:
    """Whether every path that pattern ``path`` matches lies under ``prefix``."""
    return not prefix or is_inside(path, f"{prefix}/**")


def are_admitted(methods: tuple[str, ...], by: tuple[str, ...]) -> bool:
    """Whether a row with the methods ``by`` (none = any) answers all of ``methods``."""
    return not by or set(methods) <= admitted_methods(frozenset(by))


def is_free_of_dots(path: str) -> bool:
    """Whether no segment is ``.`` or ``..``."""
    return not {".", ".."} & set(path.split("/"))
