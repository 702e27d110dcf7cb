"""The checks of a request's head that need neither a route nor a body: cheap ones, before anything is looked up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from gateway.errors import RequestError
from gateway.proxy.fields import RawHeaders, are_names, are_values, elements, folded, is_token, nominated
from gateway.proxy.framing import check_request_framing
from gateway.proxy.hosts import canonical_host

MAX_HEADERS = 128
"""Header fields in a request."""

MAX_FIELD_BYTES = 8_190
"""Bytes of one field's name, and of its value."""

MAX_HEAD_BYTES = 65_536
"""Bytes of all names and values together."""

_METHOD = re.compile(r"[A-Z]+(?:-[A-Z]+)*", re.ASCII)
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
_INSPECTED = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"})
_NEVER_NOMINATED = frozenset({b"authorization", b"forwarded", b"host", b"via"})
_NEVER_NOMINATED_PREFIXES = (b"x-forwarded", b"content-")

_Inspected = Mapping[bytes, list[bytes]]


def check_request_head(method: str, version: tuple[int, int], headers: RawHeaders) -> None:
    """Refuse a head that breaks HTTP/1.1, or that another server could read differently.

    Raises ``RequestError`` with ``http_version``, ``bad_request`` (HTTP/0.9, a method that is no upper-case word, a
    WebSocket upgrade by anything but GET in HTTP/1.1), ``method_not_allowed`` (CONNECT, TRACE), ``too_many_headers``,
    ``header_too_large``, ``bad_header``, ``bad_host``, ``bad_framing``, ``unsupported_transfer_coding``,
    ``bad_connection_header`` or ``expectation_failed``.
    """
    _check_request_line(method, version)
    names = [name for name, _ in headers]
    values = [value for _, value in headers]
    _check_sizes(names, values)
    _check_syntax(names, values)
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if (key := name.lower()) in _INSPECTED:
            found.setdefault(key, []).append(value)
    _check_host(version, found.get(b"host", []))
    check_request_framing(version, found.get(b"content-length", ()), found.get(b"transfer-encoding", ()))
    if b"connection" in found:
        _check_connection(nominated(headers))
    if b"expect" in found and version == (1, 1):
        _check_expect(found[b"expect"])
    if b"upgrade" in found:
        _check_websocket(method, version, found)


def _check_request_line(method: str, version: tuple[int, int]) -> None:
    if version < (1, 0):
        raise RequestError("bad_request", "HTTP/0.9 is not served")
    if version not in {(1, 0), (1, 1)}:
        raise RequestError("http_version", "only HTTP/1.0 and HTTP/1.1 are spoken here")
    if _METHOD.fullmatch(method) is None:
        raise RequestError("bad_request", "the method is not an upper-case word")
    if method in _REFUSED_METHODS:
        raise RequestError("method_not_allowed", "this method is not forwarded")


def _check_sizes(names: Sequence[bytes], values: Sequence[bytes]) -> None:
    if len(names) > MAX_HEADERS:
        raise RequestError("too_many_headers", f"more than {MAX_HEADERS} header fields")
    total = sum(map(len, names)) + sum(map(len, values))
    if total > MAX_FIELD_BYTES and max(map(len, [*names, *values])) > MAX_FIELD_BYTES:
        raise RequestError("header_too_large", f"a header field is longer than {MAX_FIELD_BYTES} bytes")
    if total > MAX_HEAD_BYTES:
        raise RequestError("header_too_large", f"the header is longer than {MAX_HEAD_BYTES} bytes")


def _check_syntax(names: Sequence[bytes], values: Sequence[bytes]) -> None:
    if not are_names(names):
        raise RequestError("bad_header", "a header field's name is not a token")
    if not are_values(values):
        raise RequestError("bad_header", "a header field's value holds a control character")
    if all(map(bytes.isascii, values)):
        return
    try:
        # Joined by what cannot be part of a longer character.
        b"\n".join(values).decode("utf-8")
    except UnicodeDecodeError:
        # Servers delete, replace or keep such bytes: the upstream would not see the value that was checked here.
        raise RequestError("bad_header", "a header field's value is not UTF-8") from None


def _check_host(version: tuple[int, int], hosts: list[bytes]) -> None:
    if len(hosts) > 1 or (not hosts and version == (1, 1)):
        raise RequestError("bad_host", "the request needs exactly one Host header")
    if hosts:
        canonical_host(hosts[0].decode("latin-1"))


def _check_connection(names: frozenset[bytes]) -> None:
    for name in names:
        key = folded(name)
        if not is_token(name) or key in _NEVER_NOMINATED or key.startswith(_NEVER_NOMINATED_PREFIXES):
            raise RequestError("bad_connection_header", "the Connection header names a field that must reach the end")


def _check_expect(lines: list[bytes]) -> None:
    if any(line.strip(b" \t").lower() != b"100-continue" for line in lines):
        raise RequestError("expectation_failed", "the only expectation met here is 100-continue")


def _check_websocket(method: str, version: tuple[int, int], found: _Inspected) -> None:
    asked = b"websocket" in (element.lower() for element in elements(found[b"upgrade"]))
    if asked and (method != "GET" or version != (1, 1)):
        raise RequestError("bad_request", "a WebSocket is opened with GET in HTTP/1.1")
