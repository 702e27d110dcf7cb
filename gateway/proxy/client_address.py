"""Who the client is when proxies stand in front: the rightmost address that no trusted proxy vouches past."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import chain

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([0-9.]+))(?::[0-9]{1,5})?", re.ASCII)
_ELEMENTS = re.compile(r'(?:[^,"\\]++|"(?:[^"\\]++|\\.)*+")*+', re.ASCII)
_PAIR = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:\"((?:[^\"\\]++|\\.)*+)\"|([^ \t\",;\\]+))[ \t]*(?:;|$)", re.ASCII
)


def address_chain(
    peer: str, forwarded_for: Sequence[str], forwarded: Sequence[str], trusted: Sequence[Network]
) -> tuple[str, ...]:
    """Return the client's address followed by the trusted proxies between it and this gateway, nearest last.

    ``peer`` is the connection's other end; ``forwarded_for`` and ``forwarded`` are the values of all X-Forwarded-For
    and Forwarded (RFC 7239) lines in the order received. They count only where ``peer`` lies in ``trusted``. Addresses
    are text, IPv4-mapped IPv6 as IPv4. Never raises: the walk from right to left ends at the first element that is no
    address, and the last good one is the client.

    Where both headers are there and name different chains, one of them is what the client wrote through a proxy that
    only keeps the other: neither is believed, and the client is ``peer``.
    """
    if not forwarded_for and not forwarded:
        return _lone(peer)
    address = _address(peer)
    if address is None:
        return (peer,)
    chains = [
        _walk(address, elements, trusted)
        for lines, elements in ((forwarded_for, _listed(forwarded_for)), (forwarded, _forwarded(forwarded)))
        if lines
    ]
    agreed = chains[0] if chains and all(walked == chains[0] for walked in chains) else [address]
    return tuple(str(hop) for hop in reversed(agreed))


@lru_cache(maxsize=1024)
def _lone(peer: str) -> tuple[str]:
    """The chain of a client that says nothing about proxies; parsing an address costs more than the rest of a look."""
    address = _address(peer)
    return (peer if address is None else str(address),)


def _walk(peer: Address, elements: Sequence[str | None], trusted: Sequence[Network]) -> list[Address]:
    """Addresses from the peer towards the client, up to and with the first that is not trusted."""
    hops = [peer]
    for element in reversed(elements):
        if not _is_trusted(hops[-1], trusted):
            break
        address = None if element is None else _node(element)
        if address is None:
            break
        hops.append(address)
    return hops


def _is_trusted(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _listed(lines: Sequence[str]) -> list[str | None]:
    # An empty element stays and ends the walk: it may be a proxy's word for "unknown" beside what the client wrote.
    return list(chain.from_iterable(line.split(",") for line in lines))


def _forwarded(lines: Sequence[str]) -> list[str | None]:
    return list(chain.from_iterable(map(_forwarded_line, lines)))


def _forwarded_line(line: str) -> list[str | None]:
    """The ``for`` of each element; None where there is none that can be read.

    A quote that the client opened and a proxy's element closed leaves the line's quotes odd: then all of it is None.
    """
    position = 0
    found: list[str | None] = []
    while True:
        match = _ELEMENTS.match(line, position)
        if match is None or (match.end() < len(line) and line[match.end()] != ","):
            return [None]
        found.append(_for_parameter(match[0]))
        if match.end() == len(line):
            return found
        position = match.end() + 1


def _for_parameter(element: str) -> str | None:
    nodes: list[str] = []
    position = 0
    while position < len(element):
        pair = _PAIR.match(element, position)
        if pair is None:
            return None
        position = pair.end()
        if pair[1].lower() == "for":
            nodes.append(pair[3] if pair[2] is None else pair[2])
    return nodes[0] if len(nodes) == 1 else None


def _node(text: str) -> Address | None:
    """An address with an optional port: ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1``, ``[2001:db8::1]:80``."""
    text = text.strip(" \t")
    match = _PORT.fullmatch(text)
    if match is not None:
        text = match[2] or match[1] or ""
    return None if "%" in text else _address(text)


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
