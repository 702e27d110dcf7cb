"""Header fields of the response that goes to the client: the upstream's own, checked, without its connection's."""

from __future__ import annotations

from gateway.errors import BadUpstreamResponse
from gateway.proxy.fields import HOP_BY_HOP, RawHeaders, are_names, are_values, nominated
from gateway.proxy.framing import response_length

_NO_CONTENT = 204


def downstream_headers(status: int, headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return the fields to send to the client, spelled, ordered and repeated as the upstream did; nothing is added.

    Hop-by-hop fields and those that Connection names are left out. Content-Length stays where it is one whole number
    (written without leading zeros) and the status may have one. 8-bit values pass as bytes. Raises
    ``BadUpstreamResponse`` for a status outside 200 to 599 (interim answers and asked-for upgrades are not for this
    function), an invalid name, a control in a value, or a length that could be read in two ways.
    """
    if not 200 <= status <= 599:
        raise BadUpstreamResponse("the upstream's status is not between 200 and 599")
    if not are_names([name for name, _ in headers]) or not are_values([value for _, value in headers]):
        raise BadUpstreamResponse("the upstream sent a header field that breaks HTTP")
    length = _length(headers)
    left_out = _left_out(headers)
    fields = []
    for name, value in headers:
        key = name.lower()
        if key == b"content-length":
            if length is not None and status != _NO_CONTENT:
                fields.append((name, b"%d" % length))
        elif key not in left_out:
            fields.append((name, value))
    return fields


def _length(headers: RawHeaders) -> int | None:
    # The length first: most names are told apart without building a lower-case copy.
    lengths = [value for name, value in headers if len(name) == 14 and name.lower() == b"content-length"]
    codings = [value for name, value in headers if len(name) == 17 and name.lower() == b"transfer-encoding"]
    return response_length(lengths, codings)


def _left_out(headers: RawHeaders) -> frozenset[bytes]:
    names = nominated(headers)
    if any(name.startswith(b"content-") for name in names):
        raise BadUpstreamResponse("the upstream's Connection names a field that describes the content")
    return HOP_BY_HOP | names if names else HOP_BY_HOP
