"""Header fields of the response that goes to the client: the upstream's own, checked, without its connection's."""

from __future__ import annotations

from gateway.errors import BadUpstreamResponse
from gateway.proxy.fields import RawHeaders, are_values, nominated, response_key
from gateway.proxy.framing import response_length
from gateway.proxy.response_head import ResponseHead

_NO_CONTENT = 204
_END_TO_END = frozenset({b"access-control-allow-origin", b"cache-control", b"date"})


def downstream_headers(status: int, headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return the fields to send to the client, spelled, ordered and repeated as the upstream did; nothing is added.

    Hop-by-hop fields and those that Connection names are left out. Content-Length stays where it is one whole number
    (written without leading zeros) and the status may have one. 8-bit values pass as bytes. Raises
    ``BadUpstreamResponse`` for a status outside 200 to 599 (interim answers and asked-for upgrades are not for this
    function), an invalid name, a control in a value, or a length that could be read in two ways.
    """
    if not 200 <= status <= 599:
        raise BadUpstreamResponse("the upstream's status is not between 200 and 599")
    if not are_values([value for _, value in headers]):
        raise BadUpstreamResponse("the upstream sent a header field that breaks HTTP")
    fields: list[tuple[bytes, bytes]] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    for field in headers:
        key = response_key(field[0])
        if not key or key in _END_TO_END:
            fields.append(field)
        elif key == b"content-length":
            lengths.append(field[1])
            fields.append(field)
        elif key == b"transfer-encoding":
            codings.append(field[1])
    length = response_length(lengths, codings)
    if length is not None and (status == _NO_CONTENT or lengths[0] != b"%d" % length):
        fields = _with_length(fields, None if status == _NO_CONTENT else length)
    names = nominated(headers)
    return _without(fields, names) if names else fields


_PASSED = _END_TO_END | {b""}
_LEFT_OUT = frozenset({b"keep-alive", b"transfer-encoding"})
_SIMPLE_OPTIONS = frozenset({b"keep-alive", b"close"})


def simple_lines(head: ResponseHead) -> tuple[list[bytes], set[bytes]] | None:
    """``downstream_headers`` as lines, and the ``response_key`` of each, in one pass.

    For a head that passed ``response_head`` and has a Date; None where something in it needs a closer look. Raises
    ``BadUpstreamResponse`` for a control in a value.
    """
    lines: list[bytes] = []
    seen: set[bytes] = set()
    for name, value in head.headers:
        key = response_key(name)
        if key in _PASSED:
            lines.append(b"%b: %b" % (name, value))
        elif key == b"content-length":
            if head.status == _NO_CONTENT or value != b"%d" % (head.content_length or 0):
                return None
            lines.append(b"%b: %b" % (name, value))
        elif key not in _LEFT_OUT and (key != b"connection" or value.lower() not in _SIMPLE_OPTIONS):
            return None
        seen.add(key)
    if not are_values(lines):
        raise BadUpstreamResponse("the upstream sent a header field that breaks HTTP")
    return (lines, seen) if b"date" in seen else None


def _with_length(fields: list[tuple[bytes, bytes]], length: int | None) -> list[tuple[bytes, bytes]]:
    """``fields`` with their Content-Length written plainly, or without it."""
    kept: list[tuple[bytes, bytes]] = []
    for field in fields:
        if response_key(field[0]) != b"content-length":
            kept.append(field)
        elif length is not None:
            kept.append((field[0], b"%d" % length))
    return kept


def _without(fields: list[tuple[bytes, bytes]], names: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    if any(name.startswith(b"content-") for name in names):
        raise BadUpstreamResponse("the upstream's Connection names a field that describes the content")
    return [field for field in fields if field[0].lower() not in names]
