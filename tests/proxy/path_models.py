"""How servers behind a gateway may understand a path: each model turns the bytes into the path that it would serve."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import unquote

Model = Callable[[str], str]


def without_dot_segments(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del kept[-1:]
        elif segment not in {".", ""}:
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith(("/", "/.", "/..")) else "")


def as_sent(path: str) -> str:
    return path


def decoded_once(path: str) -> str:
    return unquote(path, "latin-1")


def decoded_twice(path: str) -> str:
    return unquote(unquote(path, "latin-1"), "latin-1")


def dots_removed_before_decoding(path: str) -> str:
    return unquote(without_dot_segments(path), "latin-1")


def dots_removed_after_decoding(path: str) -> str:
    return without_dot_segments(decoded_once(path))


def dots_removed_after_decoding_twice(path: str) -> str:
    return without_dot_segments(decoded_twice(path))


def backslash_as_slash(path: str) -> str:
    return without_dot_segments(decoded_once(path).replace("\\", "/"))


def parameters_dropped_then_decoded(path: str) -> str:
    return without_dot_segments(decoded_once(re.sub(r";[^/]*", "", path)))


def decoded_then_parameters_dropped(path: str) -> str:
    return without_dot_segments(re.sub(r";[^/]*", "", decoded_once(path)))


def all_after_semicolon_dropped(path: str) -> str:
    return without_dot_segments(decoded_once(path.partition(";")[0]))


def cut_at_nul(path: str) -> str:
    return without_dot_segments(decoded_once(path).partition("\0")[0])


def whatwg(path: str) -> str:
    path = re.sub(r"[\t\r\n]", "", path).strip(" ").partition("#")[0].replace("\\", "/")
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        dots = re.sub("%2e", ".", segment, flags=re.IGNORECASE)
        if dots == "..":
            del kept[-1:]
        elif dots != ".":
            kept.append(segment)
    return "/" + "/".join(kept)


def lax_utf8(path: str) -> str:
    """Decodes every two- and three-byte form by its bits, however long it is."""
    data = decoded_once(path)

    def long_form(match: re.Match[str]) -> str:
        lead, *rest = map(ord, match[0])
        number = lead & (0x1F if len(rest) == 1 else 0x0F)
        for byte in rest:
            number = number << 6 | (byte & 0x3F)
        return chr(number)

    return without_dot_segments(re.sub("[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}", long_form, data))


MODELS: Sequence[Model] = (
    as_sent,
    decoded_once,
    decoded_twice,
    dots_removed_before_decoding,
    dots_removed_after_decoding,
    dots_removed_after_decoding_twice,
    backslash_as_slash,
    parameters_dropped_then_decoded,
    decoded_then_parameters_dropped,
    all_after_semicolon_dropped,
    cut_at_nul,
    whatwg,
    lax_utf8,
)

Rows = Sequence[tuple[str, int]]
"""Pattern and price, as a person reads them: the first that fits."""


def price_of(rows: Rows, path: str) -> int:
    """The price of a path that is taken literally; 0 outside every row."""
    segments = path.split("/")[1:]
    for pattern, price in rows:
        wanted = pattern.split("/")[1:]
        below = wanted[-1] == "**"
        wanted = wanted[:-1] if below else wanted
        length_fits = len(segments) >= len(wanted) if below else len(segments) == len(wanted)
        if length_fits and all(w == s or (w == "*" and s) for w, s in zip(wanted, segments, strict=False)):
            return price
    return 0
