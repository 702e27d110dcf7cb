"""Hosts, ports, URLs and networks as people write them. All raise ``ValueError`` that never repeats the text."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from gateway.config.files import absolute
from gateway.config.patterns import is_free_of_dots
from gateway.proxy.client_address import Network
from gateway.proxy.hosts import MAX_HOST_LENGTH, MAX_PORT, canonical_host_pattern
from gateway.proxy.services import Origin

HostPort = tuple[str, int]

DEMO_ORIGIN = Origin("http", "127.0.0.1", 0)
"""What ``upstream: demo`` stands for until the server has started the sample API and knows its port."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_BASE_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where requests go: ``base`` is '' or '/segments' to put before each path."""

    origin: Origin
    base: str = ""


def parse_host_port(text: str, *, lowest_port: int = 0) -> HostPort:
    """Read ``127.0.0.1:8402``, ``[::1]:8402`` or ``name:8402``; the host comes back lower-case without brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or _PORT.fullmatch(port) is None:
        raise ValueError("no port")
    if not host:
        raise ValueError("no host")
    if not lowest_port <= int(port) <= MAX_PORT:
        raise ValueError("not a port")
    return _canonical_name(host), int(port)


def parse_node_address(text: str) -> HostPort:
    """Read the host and port of a node, which listens on a port that can be named: not 0."""
    return parse_host_port(text, lowest_port=1)


def parse_loopback(text: str) -> HostPort:
    """Read a host and port that only this machine reaches."""
    host, port = parse_host_port(text)
    if not is_loopback(host):
        raise ValueError("reachable from other machines")
    return host, port


def parse_match_host(text: str) -> str:
    """Read ``api.example.com`` or ``*.example.com`` the way request hosts are compared: lower-case, no port."""
    if not text.isascii():
        raise ValueError("not ASCII, write an international name in its xn-- form")
    if not text or "/" in text:
        raise ValueError("not a host")
    if text.count(":") == 1 and "]" not in text:
        raise ValueError("a port, every port is served alike")
    try:
        return canonical_host_pattern(text)
    except ValueError:
        raise ValueError("not a host") from None


def parse_public_url(text: str) -> str:
    """Read the ``https://host[:port]`` that buyers use; a final '/' is dropped."""
    url = _split_http(text)
    if url.path not in {"", "/"}:
        raise ValueError("a URL with a path")
    return f"{url.scheme}://{url.netloc.lower()}"


def parse_upstream(text: str) -> Upstream:
    """Read ``http://host[:port][/base]``, ``https://…`` or the word ``demo``."""
    if text == "demo":
        return Upstream(DEMO_ORIGIN)
    url = _split_http(text)
    base = url.path.removesuffix("/")
    if _BASE_PATH.fullmatch(base) is None or not is_free_of_dots(base):
        raise ValueError("a path that not every server reads alike")
    return Upstream(_origin(url), base)


def parse_storage(text: str, folder: Path) -> str:
    """Read ``sqlite:///file`` (made absolute against ``folder``) or ``postgresql://user:password@host/name``."""
    if text.startswith("sqlite:///"):
        return f"sqlite:///{_sqlite_file(text.removeprefix('sqlite:///'), folder)}"
    if not text.startswith("postgresql://"):
        raise ValueError("not such a URL")
    if _VISIBLE.fullmatch(text) is None:
        raise ValueError("spaces or control characters in a URL")
    try:
        url = urlsplit(text)
        complete = url.path not in {"", "/"} and url.port != 0
    except ValueError:
        complete = False
    if not complete:
        raise ValueError("a database URL without a name, or with an unreadable port")
    return text


def parse_network(text: str) -> Network:
    """Read ``10.0.0.0/8``, or one address."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("not a network") from None
    raise ValueError("an address inside a network, not its first")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def reachable(host: str) -> str:
    """Where a listener on ``host`` answers to this machine: an unspecified address is reached over loopback."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def reaches(target: HostPort, listener: HostPort) -> bool:
    """Whether connecting to ``target`` from this machine arrives at ``listener``, as far as the names tell."""
    if target[1] != listener[1] or listener[1] == 0:
        return False
    everywhere = listener[0] in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    same_machine = is_loopback(target[0]) or target[0] in {"0.0.0.0", "::"}  # noqa: S104
    return target[0] == listener[0] or (same_machine and (everywhere or is_loopback(listener[0])))


def _canonical_name(host: str) -> str:
    """A host in lower case, addresses in their one spelling; IPv6 must stand in brackets."""
    if host.startswith("[") and host.endswith("]"):
        address = _address(host[1:-1])
        if isinstance(address, ipaddress.IPv6Address):
            return str(address)
        raise ValueError("not an IPv6 address in brackets")
    address = _address(host)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    name = host.lower()
    # A last label of digits would be read as an IPv4 address by some and as a name by others.
    if _NAME.fullmatch(name) is None or len(name) > MAX_HOST_LENGTH or name.rpartition(".")[2].isdigit():
        raise ValueError("not a host name or address")
    return name


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host) if "%" not in host else None
    except ValueError:
        return None


def _split_http(text: str) -> SplitResult:
    """An absolute http(s) URL with host and at most a path."""
    if not text.startswith(("http://", "https://")):
        raise ValueError("no http:// or https:// in front")
    if _VISIBLE.fullmatch(text) is None:
        raise ValueError("spaces, control or non-ASCII characters in a URL")
    try:
        url = urlsplit(text)
    except ValueError:
        raise ValueError("not a URL") from None
    if "@" in url.netloc:
        raise ValueError("a user or password in a URL")
    if "?" in text or "#" in text:
        raise ValueError("a query or fragment in a URL")
    _origin(url)
    return url


def _origin(url: SplitResult) -> Origin:
    scheme: Literal["http", "https"] = "https" if url.scheme == "https" else "http"
    host, colon, port = url.netloc.rpartition(":")
    if not colon or url.netloc.endswith("]"):
        host, port = url.netloc, "443" if scheme == "https" else "80"
    name, number = parse_host_port(f"{host}:{port}", lowest_port=1)
    address = _address(name)
    if address is not None and address.is_link_local:
        raise ValueError("a link-local address, where cloud machines keep their own secrets")
    return Origin(scheme, name, number)


def _sqlite_file(written: str, folder: Path) -> Path:
    if not written or written.endswith("/") or written == ":memory:":
        raise ValueError("no database file; tokens must outlive a restart")
    if "?" in written or "#" in written or "%" in written:
        raise ValueError("'?', '#' or '%' in the name of a database file")
    return absolute(written, folder)
