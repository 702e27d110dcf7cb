"""The ``WWW-Authenticate`` challenge: written for every deployed client, read from every known server.

Written (L402 L10 to L17)::

    L402 macaroon="T", invoice="P", version="0", token="T"      ; T: base64, standard alphabet, padded

Read (RFC 9110 sections 5.6 and 11.6.1)::

    challenge  = scheme [ 1*SP ( token68 / #( name BWS "=" BWS ( token / quoted-string ) ) ) ]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.errors import ChallengeError
from gateway.l402 import bolt11
from gateway.l402.macaroon import MAX_MACAROON_BYTES
from gateway.l402.tokens import encode_token

MAX_LINES = 16
MAX_LINE_CHARS = 32_768
MAX_PARTS = 256
"""Bounds on what a buyer reads; a line of ours has about 1,000 characters and 5 parts: its scheme and 4 parameters."""

SCHEMES = frozenset({"L402", "LSAT"})
"""The name of the scheme and the one that it had before (L402 L23), in upper case; either case is read."""

_INVOICE = re.compile(r"ln[a-z0-9]+")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*")

_SEPARATORS = re.compile(r"[ \t,]*")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_ALONE = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")
_PLAIN_VALUE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z/=-]+")
_QUOTED_VALUE = re.compile(r'"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\U0010ffff]|\\[\t \x21-\x7e\x80-\U0010ffff])*)"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_UNREADABLE = re.compile(r"[^,]+")


@dataclass(frozen=True, slots=True)
class Challenge:
    """An offer: pay ``invoice``, then answer with ``scheme``, ``token`` and the preimage.

    ``token`` is the text as the server wrote it, to be sent back unchanged: it need not be a macaroon (L402 L72).
    ``invoice`` is in lower case and not decoded yet. ``scheme`` is ``L402`` or ``LSAT``.
    """

    token: str = field(repr=False)
    invoice: str
    scheme: str = "L402"


@dataclass(slots=True)
class _Offer:
    """A challenge of any scheme while it is read."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)
    repeated: bool = False

    def add(self, name: str, value: str) -> None:
        if name in self.parameters:
            self.repeated = True
        self.parameters[name] = value


def format_challenge(token: bytes, invoice: str) -> str:
    """The value of our ``WWW-Authenticate`` line. Raises ``ValueError`` for values that do not belong there."""
    if not 0 < len(token) <= MAX_MACAROON_BYTES:
        raise ValueError("the token is empty or too long for a header")
    if len(invoice) > bolt11.MAX_LENGTH or _INVOICE.fullmatch(invoice) is None:
        raise ValueError("not a BOLT11 invoice in lower case")
    text = encode_token(token)
    return f'L402 macaroon="{text}", invoice="{invoice}", version="0", token="{text}"'


def parse_challenges(lines: Sequence[str]) -> tuple[Challenge, ...]:
    """The distinct L402 and LSAT challenges in the ``WWW-Authenticate`` lines of one answer, in order.

    Other schemes, unknown parameters (L402 L14) and offers that cannot be used (no invoice, a repeated parameter,
    ``token`` and ``macaroon`` that differ) are passed over. Raises ``ChallengeError`` when none is left.
    """
    if len(lines) > MAX_LINES or any(len(line) > MAX_LINE_CHARS for line in lines):
        raise ChallengeError("more WWW-Authenticate text than a challenge has")
    offers = [offer for line in lines for offer in _read_line(line)]
    found: dict[tuple[str, str], Challenge] = {}
    for offer in offers:
        challenge = _usable(offer)
        if challenge is not None:
            found.setdefault((challenge.token, challenge.invoice), challenge)
    if not found:
        raise ChallengeError("no L402 challenge with a token and an invoice")
    return tuple(found.values())


def _usable(offer: _Offer) -> Challenge | None:
    scheme = offer.scheme.upper()
    invoice = offer.parameters.get("invoice", "")
    tokens = {offer.parameters[name] for name in ("token", "macaroon") if name in offer.parameters}
    if scheme not in SCHEMES or offer.repeated or len(tokens) != 1 or len(invoice) > bolt11.MAX_LENGTH:
        return None
    token = tokens.pop()
    # BOLT11 allows all upper case; mixed case stays mixed and is refused.
    invoice = invoice.lower() if invoice.isupper() else invoice
    if _TOKEN68.fullmatch(token) is None or _INVOICE.fullmatch(invoice) is None:
        return None
    return Challenge(token, invoice, scheme)


def _read_line(line: str) -> list[_Offer]:
    """Split a line into challenges, in time linear in its length. What cannot be read is passed over."""
    offers: list[_Offer] = []
    at, parts = _end(_SEPARATORS, line, 0), 0
    while at < len(line):
        parts += 1
        if parts > MAX_PARTS:
            raise ChallengeError("more schemes and parameters than an answer has")
        name = _NAME.match(line, at)
        if name is None:
            # Parameters after this belong to nobody that we know.
            offers.append(_Offer(""))
            at = _end(_UNREADABLE, line, at)
        elif equals := _EQUALS.match(line, name.end()):
            value, at = _read_value(line, equals.end())
            if offers:
                offers[-1].add(name[0].lower(), value)
        else:
            offers.append(_Offer(name[0]))
            at = _end(_ALONE, line, name.end())
        at = _end(_SEPARATORS, line, at)
    return offers


def _read_value(line: str, at: int) -> tuple[str, int]:
    if quoted := _QUOTED_VALUE.match(line, at):
        return _QUOTED_PAIR.sub(r"\1", quoted[1]), quoted.end()
    if plain := _PLAIN_VALUE.match(line, at):
        return plain[0], plain.end()
    if line.startswith('"', at):
        # An open quote may hold anything: the rest of the line is lost.
        return "", len(line)
    return "", at


def _end(pattern: re.Pattern[str], line: str, at: int) -> int:
    match = pattern.match(line, at)
    return at if match is None else match.end()
