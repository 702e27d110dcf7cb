"""Request targets: accepted as they are or refused, never repaired.

The route is looked up by what the path means, the upstream gets the bytes that were looked up. So a path that two
servers could read in two ways (dot segments, escaped separators, doubled slashes, backslashes, fragments) is refused
instead of being normalised. Where two readings are both common and harmless by themselves, ``Target.readings`` lists
the others, and the route table takes the row that asks for more.
Paths are case-sensitive: an upstream that folds case needs its routes under one prefix that covers every spelling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from gateway.errors import RequestError
from gateway.proxy.hosts import canonical_host
from gateway.proxy.services import PathRewrite

MAX_TARGET_BYTES = 8_190
"""Longest request target, in bytes as sent; one more is answered 414."""

_ABSOLUTE_FORM = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
# Visible ASCII without '#' and the characters that some servers turn into others or that no URL may hold.
_PATH = re.compile(r"/[!$%&'()*+,\-./0-9:;=@A-Z\[\]_a-z~]*", re.ASCII)
_QUERY = re.compile(r'[!"$-~]*', re.ASCII)
# Not two hex digits, or an escaped control, '%', '.', '/', ';', '\' or DEL, also in the longer spellings of UTF-8
# (RFC 3629 section 3: lax decoders make '/' of C0 AF): what a second decoder would act upon.
_BAD_ESCAPE = re.compile(
    r"%(?:(?![0-9A-Fa-f]{2})|[01][0-9A-Fa-f]|2[5EeFf]|3[Bb]|5[Cc]|7[Ff]|[Cc][01]%[89ABab]|[Ee]0%[89]|[Ff]0%8)", re.ASCII
)
# Escapes that RFC 3986 section 2.3 calls equal to the plain character; servers that compare raw text disagree.
_NEEDLESS_ESCAPE = re.compile(r"%(?=2[Dd]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """An accepted request target.

    ``path`` and ``query`` are ASCII, exactly as sent (``query`` is None without '?', '' after a lone one).
    ``segments`` are the path's parts between slashes, decoded as UTF-8 (other bytes as lone surrogates) and without
    ``;parameters``; '/' is ``('',)`` and '/a/' is ``('a', '')``. ``readings`` are the segments that servers see which
    keep parameters or don't decode needless escapes; empty for nearly every request.
    """

    path: str
    query: str | None
    segments: tuple[str, ...]
    readings: tuple[tuple[str, ...], ...] = ()


def canonical_target(raw: str, *, scheme: str, host: str) -> Target:
    """Accept an origin-form or absolute-form request target (RFC 9112 section 3.2).

    ``scheme`` is the listener's, ``host`` the request's Host as ``canonical_host`` returns it ('' without one).
    Raises ``RequestError`` with ``uri_too_long``, ``host_mismatch`` (absolute form for another host, or with user
    information) or ``bad_path`` (everything else, including ``*`` and authority form).
    """
    if len(raw) > MAX_TARGET_BYTES:
        raise RequestError("uri_too_long", f"the request target is longer than {MAX_TARGET_BYTES} bytes")
    if not raw.startswith("/"):
        raw = _origin_form(raw, scheme, host)
    path, mark, query = raw.partition("?")
    if _PATH.fullmatch(path) is None:
        raise RequestError("bad_path", "the path holds a character that URLs may not hold")
    if mark and _QUERY.fullmatch(query) is None:
        raise RequestError("bad_path", "the query holds a character that URLs may not hold")
    segments, readings = _segments(path)
    return Target(path, query if mark else None, segments, readings)


def rewritten_path(target: Target, rewrite: PathRewrite) -> str:
    """Path and query to send upstream: the bytes of the request with whole segments replaced at the front.

    A path that does not lie under ``rewrite.strip_prefix`` keeps all of its segments.
    """
    path = target.path
    if rewrite.strip_prefix:
        path = _stripped(target, rewrite.strip_prefix)
    path = rewrite.prefix + path or "/"
    return path if target.query is None else f"{path}?{target.query}"


def decoded(text: str) -> str:
    """Percent-decode one segment as UTF-8; bytes that are none become lone surrogates."""
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape") if "%" in text else text


def _origin_form(raw: str, scheme: str, host: str) -> str:
    match = _ABSOLUTE_FORM.fullmatch(raw)
    if match is None or match[1].lower() != scheme:
        raise RequestError("bad_path", "the request target is neither a path nor a URL of this listener")
    try:
        same = canonical_host(match[2]) == host
    except RequestError:
        same = False
    if not same:
        raise RequestError("host_mismatch", "the request target names another host than the Host header")
    return match[3] if match[3].startswith("/") else f"/{match[3]}"


def _segments(path: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Segments for matching, and the other readings of the same path."""
    if "//" in path:
        raise RequestError("bad_path", "the path holds an empty segment")
    raw = path[1:].split("/")
    if "/." in path or ";" in path:
        _refuse_dot_segments(raw)
    if "%" in path and _BAD_ESCAPE.search(path):
        raise RequestError("bad_path", "the path holds an escape that servers read in different ways")
    if ";" in path or ("%" in path and _NEEDLESS_ESCAPE.search(path)):
        return _all_readings(raw)
    return tuple(map(decoded, raw)) if "%" in path else tuple(raw), ()


def _all_readings(raw: list[str]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    plain = [segment.partition(";")[0] for segment in raw]
    meant = tuple(map(decoded, plain))
    others = {tuple(map(decoded, raw)), tuple(map(_half_decoded, raw)), tuple(map(_half_decoded, plain))}
    return meant, tuple(sorted(others - {meant}))


def _refuse_dot_segments(segments: list[str]) -> None:
    for segment in segments:
        name, mark, _ = segment.partition(";")
        if name in {".", ".."} or (mark and not name):
            raise RequestError("bad_path", "the path holds a dot segment, or parameters without a name")


def _half_decoded(segment: str) -> str:
    """Decode the escapes that a URL needs, leave those that stand for a character which needs none."""
    return decoded(_NEEDLESS_ESCAPE.sub("%25", segment))


def _stripped(target: Target, prefix: str) -> str:
    wanted = tuple(map(decoded, prefix[1:].split("/")))
    if target.segments[: len(wanted)] != wanted:
        return target.path
    # Counted in raw segments, because the request may spell the prefix with escapes or parameters.
    return "".join(f"/{segment}" for segment in target.path[1:].split("/")[len(wanted) :])
