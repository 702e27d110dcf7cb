"""Host names as clients send them, brought to the one spelling that the route table knows (RFC 9110 section 7.2)."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from gateway.errors import RequestError

MAX_HOST_LENGTH = 253
"""Characters of a domain name without its final dot (RFC 1035 section 2.3.4)."""

MAX_PORT = 65_535

# Letters, digits, '-' and '_' only: RFC 3986 would allow commas and escapes too, which servers read in different ways.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*", re.ASCII)
_NAME_AND_PORT = re.compile(r"([A-Za-z0-9._-]+)(?::([0-9]{0,5}))?", re.ASCII)
_ADDRESS_AND_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]{0,5}))?", re.ASCII)


@lru_cache(maxsize=1024)
def canonical_host(value: str) -> str:
    """Read a Host header or the authority of an absolute-form target.

    Returns it in lower case without port, final dot or brackets; IPv6 in its shortest form (RFC 5952).
    Raises ``RequestError("bad_host")`` for anything else than a name or address with an optional port: user
    information, lists, percent-escapes, 8-bit characters, ports above 65535. Only accepted values are remembered.
    """
    bracketed = value.startswith("[")
    match = (_ADDRESS_AND_PORT if bracketed else _NAME_AND_PORT).fullmatch(value)
    if match is None or int(match[2] or 0) > MAX_PORT:
        raise RequestError("bad_host", "the Host is not a name or an address with an optional port")
    return _canonical_address(match[1]) if bracketed else _canonical_name(match[1])


def canonical_host_pattern(text: str) -> str:
    """Read the host of a route: '' (any), a name or address, or ``*.example.com`` (one or more labels before it).

    A bare IPv6 address is understood with and without brackets. Raises ``ValueError`` saying what is expected.
    """
    if text == "":
        return ""
    wildcard = text.startswith("*.")
    name = text[2:] if wildcard else text
    if "*" in name:
        raise ValueError("'*' may only stand for the first labels of a host, as in '*.example.com'")
    if not wildcard and name.count(":") > 1 and not name.startswith("["):
        name = f"[{name}]"
    elif name.count(":") == 1:
        raise ValueError("a route's host is written without a port; every port of the listener is served alike")
    try:
        host = canonical_host(name)
    except RequestError:
        raise ValueError(
            "expected a host name such as 'api.example.com' or '*.example.com' (IDNs as 'xn--…')"
        ) from None
    return f"*.{host}" if wildcard else host


def with_port(host: str, port: int) -> str:
    """Host and port as URLs write them (RFC 3986 section 3.2): ``name:80`` or ``[2001:db8::1]:80``."""
    return f"{in_brackets(host)}:{port}"


def in_brackets(host: str) -> str:
    """A host as URLs write it: an IPv6 address stands in brackets, anything else as it is."""
    return f"[{host}]" if ":" in host else host


def _canonical_name(name: str) -> str:
    name = name.removesuffix(".")
    if len(name) > MAX_HOST_LENGTH or _NAME.fullmatch(name) is None:
        raise RequestError("bad_host", "the Host is not a domain name")
    return name.lower()


def _canonical_address(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except AddressValueError:
        raise RequestError("bad_host", "the Host's brackets hold no IPv6 address") from None
