"""Lengths of time, sizes, whole numbers and switches as people write them. No ``ValueError`` repeats the text."""

from __future__ import annotations

import re

_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([1-9][0-9]{0,8}) ?(ms|s|m|h|d)", re.ASCII)
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}
_SIZE = re.compile(r"(0|[1-9][0-9]{0,14})(?: ?([kKMG]i?B|B))?", re.ASCII)
_WHOLE = re.compile(r"0|[1-9][0-9]{0,11}", re.ASCII)
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){32,}", re.ASCII)
_SWITCH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def parse_milliseconds(text: str, *, longest: str) -> int:
    """Read ``500ms``, ``90s``, ``10m``, ``1h`` or ``7d``; ``longest`` is the greatest length allowed, written alike."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("not a length of time")
    length = int(match[1]) * _MILLISECONDS[match[2]]
    if text != longest and length > parse_milliseconds(longest, longest=longest):
        raise ValueError(f"longer than {longest}")
    return length


def parse_seconds(text: str, *, longest: str) -> int:
    """Read a length of time in whole seconds: ``90s``, ``10m``, ``1h`` or ``7d``."""
    milliseconds = parse_milliseconds(text, longest=longest)
    if text.endswith("ms"):
        raise ValueError("not whole seconds")
    return milliseconds // 1_000


def parse_size(text: str) -> int:
    """Read ``10MB``, ``512KiB`` or a number of bytes."""
    match = _SIZE.fullmatch(text)
    if match is None or (unit := match[2] or "B") not in _BYTES:
        raise ValueError("not a size")
    return int(match[1]) * _BYTES[unit]


def parse_whole(text: str, *, most: int) -> int:
    """Read a whole number from 0 to ``most``; no sign, no leading zero (YAML 1.1 would read octal)."""
    if _WHOLE.fullmatch(text) is None or int(text) > most:
        raise ValueError("not such a number")
    return int(text)


def parse_switch(text: str) -> bool:
    """Read ``true`` or ``false``, also as ``yes``, ``no``, ``on``, ``off``, which YAML 1.1 takes for the same."""
    try:
        return _SWITCH[text.lower()]
    except KeyError:
        raise ValueError("not a switch") from None


def is_hex(text: str) -> bool:
    """Whether a text is bytes in hex, and too long to be somebody's file name by chance."""
    return _HEX.fullmatch(text) is not None
