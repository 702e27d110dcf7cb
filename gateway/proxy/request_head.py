"""The checks of a request's head that need neither a route nor a body: cheap ones, before anything is looked up."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from gateway.errors import RequestError
from gateway.l402.credentials import CREDENTIAL_HEADERS
from gateway.proxy.fields import RawHeaders, are_values, elements, folded, is_token, nominated
from gateway.proxy.framing import check_request_framing
from gateway.proxy.hosts import canonical_host

MAX_HEADERS = 100
"""Header fields in a request, Host included."""

MAX_FIELD_BYTES = 8_190
"""Bytes of one field's name, and of its value."""

MAX_HEAD_BYTES = 65_536
"""Bytes of all names and values together."""

COMMON_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods of RFC 9110 and RFC 5789 without CONNECT and TRACE, which are forwarded nowhere."""

_METHOD = re.compile(r"[A-Z]+(?:-[A-Z]+)*", re.ASCII)
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})
_COMMON = frozenset(COMMON_METHODS)
_CREDENTIALS = frozenset(name.encode() for name in CREDENTIAL_HEADERS)
_INSPECTED = _CREDENTIALS | {
    b"access-control-request-headers",
    b"access-control-request-method",
    b"connection",
    b"content-length",
    b"expect",
    b"forwarded",
    b"host",
    b"max-forwards",
    b"origin",
    b"transfer-encoding",
    b"upgrade",
    b"x-forwarded-for",
}
_NEVER_NOMINATED = frozenset({b"authorization", b"forwarded", b"host", b"via"})
_NEVER_NOMINATED_PREFIXES = (b"x-forwarded", b"content-")

Inspected = Mapping[bytes, list[bytes]]
"""Values of the fields that this gateway itself looks at, by lower-case name, in order."""


def check_request_head(method: str, version: tuple[int, int], headers: RawHeaders) -> Inspected:
    """Refuse a head that breaks HTTP/1.1, or that another server could read differently; return what was looked at.

    Raises ``RequestError`` with ``http_version``, ``bad_request`` (HTTP/0.9, a method that is no upper-case word, a
    WebSocket upgrade by anything but GET in HTTP/1.1), ``method_not_allowed`` (CONNECT, TRACE), ``too_many_headers``,
    ``header_too_large``, ``bad_header``, ``bad_host``, ``bad_framing``, ``unsupported_transfer_coding``,
    ``bad_connection_header`` or ``expectation_failed``.
    """
    if version != (1, 1) or method not in _COMMON:
        _check_request_line(method, version)
    names = [name for name, _ in headers]
    values = [value for _, value in headers]
    # Joined by what cannot be part of a value, nor of a longer character.
    joined = b"\n".join(values)
    if len(names) > MAX_HEADERS or len(joined) + sum(map(len, names)) > MAX_FIELD_BYTES:
        _check_sizes(names, values)
    keys = list(map(_inspected_key, names))
    _check_values(values, joined)
    found: dict[bytes, list[bytes]] = {}
    for key, value in zip(keys, values, strict=True):
        if key:
            found.setdefault(key, []).append(value)
    _check_host(version, found.get(b"host", []))
    _check_meaning(method, version, headers, found)
    return found


def credential_fields(headers: RawHeaders, found: Inspected) -> list[tuple[str, str]]:
    """The fields of a checked head in which ``gateway.l402.credentials`` looks for credentials, as text, in order."""
    if _CREDENTIALS.isdisjoint(found):
        return []
    # UTF-8 was checked; latin-1 keeps bytes and characters one to one, as the grammar of credentials is ASCII.
    return [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers
        if _inspected_key(name) in _CREDENTIALS
    ]


@lru_cache(maxsize=1024)
def _inspected_key(name: bytes) -> bytes:
    """The lower-case name of a field that is looked at, ``b""`` of another; a name that is no token is refused."""
    if not is_token(name):
        raise RequestError("bad_header", "a header field's name is not a token")
    key = name.lower()
    return key if key in _INSPECTED else b""


def _check_meaning(method: str, version: tuple[int, int], headers: RawHeaders, found: Inspected) -> None:
    if b"content-length" in found or b"transfer-encoding" in found:
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


def _check_values(values: Sequence[bytes], joined: bytes) -> None:
    if not are_values(values):
        raise RequestError("bad_header", "a header field's value holds a control character")
    if joined.isascii():
        return
    try:
        joined.decode("utf-8")
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


def _check_websocket(method: str, version: tuple[int, int], found: Inspected) -> None:
    asked = b"websocket" in (element.lower() for element in elements(found[b"upgrade"]))
    if asked and (method != "GET" or version != (1, 1)):
        raise RequestError("bad_request", "a WebSocket is opened with GET in HTTP/1.1")
