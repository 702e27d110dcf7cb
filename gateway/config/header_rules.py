"""Which request headers a service may set. All raise ``ValueError`` that never repeats a value."""

from __future__ import annotations

import re

from gateway.proxy.fields import HOP_BY_HOP, folded, is_token
from gateway.proxy.request_headers import REMADE

_LONGEST_NAME = 128
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")

_OURS = frozenset({b"via", b"forwarded", b"max-forwards"})
_OUR_FAMILIES = (b"x-forwarded-", b"x-l402-")


def parse_header_name(text: str) -> str:
    """Check a field name (RFC 9110 section 5.1) that is the seller's to set."""
    if len(text) > _LONGEST_NAME or not is_token(text.encode(errors="replace")):
        raise ValueError("a header name with characters that HTTP does not allow")
    name = folded(text.encode())
    if name in HOP_BY_HOP:
        raise ValueError("a header that belongs to one connection, the gateway writes it itself")
    if name in REMADE:
        raise ValueError("a header that the gateway makes from the upstream's address and the body")
    if name in _OURS or name.startswith(_OUR_FAMILIES):
        raise ValueError("a header in which the gateway itself speaks to the upstream")
    return text


def parse_header_value(text: str) -> str:
    """Check a field value (RFC 9110 section 5.5): visible ASCII, with spaces only inside."""
    if not text:
        raise ValueError("nothing to send")
    if _VALUE.fullmatch(text) is None:
        raise ValueError("line breaks, control or non-ASCII characters, or spaces at an end")
    return text
