"""Reading credentials out of request headers (L402 L22, L23, L30 to L36, L82, L83).

::

    Authorization = element *( "," element )              ; other schemes may stand beside ours
    element       = 1*( scheme 1*SP ) token *( "," token ) ":" proof
    scheme        = "L402" / "LSAT"                       ; any case; some clients repeat it
    token         = base64 of a macaroon
    proof         = 64HEXDIG / 96HEXDIG                   ; preimage; 96: base64 of these bytes gives the 64 digits

and, where no Authorization line holds an element of ours, the hex of a macaroon whose last ``preimage`` caveat is the
preimage, in ``Macaroon``, ``Token``, ``Grpc-Metadata-Macaroon`` or ``Grpc-Metadata-Token``.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from gateway.errors import CredentialError, Fault
from gateway.l402.caveats import PREIMAGE, Caveat, read_preimage
from gateway.l402.identifier import token_key
from gateway.l402.macaroon import Macaroon, decode_macaroon
from gateway.l402.tokens import decode_token, decode_token_hex

MAX_LINE_CHARS = 16_384
"""Longer header values are not looked into; a macaroon in hex is at most 12,288 characters."""
MAX_TOKENS = 8
MAX_CREDENTIALS = 4
MAX_ELEMENTS = 16
"""Elements looked at per request; the rest counts as malformed."""

_AUTHORIZATION = "authorization"
HEX_HEADERS = frozenset({"macaroon", "grpc-metadata-macaroon", "token", "grpc-metadata-token"})
"""Lower-case names of the fields that may hold a macaroon in hex (L402 L82, L83)."""
CREDENTIAL_HEADERS = HEX_HEADERS | {_AUTHORIZATION}
"""Lower-case names of all fields that are looked at here; a caller may leave out the others."""
_GENERIC_HEADERS = frozenset({"token", "grpc-metadata-token"})
"""Other software uses these names too: only what starts like the hex of a V2 macaroon claims to be ours."""
_V2_IN_HEX = "02"

_OURS_ANYWHERE = re.compile(r"l402|lsat", re.IGNORECASE | re.ASCII)
_OURS = re.compile(r"(?:l402|lsat)(?=[ \t]|$)", re.IGNORECASE | re.ASCII)
_OUR_SCHEMES = re.compile(r"(?:(?:l402|lsat) +)*", re.IGNORECASE | re.ASCII)
_ANY_SCHEME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]")
_PROOF = re.compile(r"[0-9A-Fa-f]{64}(?:[0-9A-Fa-f]{32})?")
_LONG_PROOF_CHARS = 96


@dataclass(frozen=True, slots=True)
class Credential:
    """Macaroons and the preimage (32 bytes) that is said to pay for them. Nothing is verified yet."""

    macaroons: tuple[Macaroon, ...]
    preimage: bytes = field(repr=False)

    @property
    def token_keys(self) -> tuple[bytes, ...]:
        """Where the root keys are kept, one key per distinct identifier, in order."""
        return tuple(dict.fromkeys(token_key(macaroon.identifier) for macaroon in self.macaroons))


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request shows. One credential that came in several spellings is one.

    ``malformed``: something that claims to be ours could not be read. ``present``: something claimed to be.
    """

    credentials: tuple[Credential, ...]
    malformed: bool
    present: bool


def credential_text(headers: Iterable[tuple[str, str]]) -> str | None:
    """All that ``read_credentials`` would look at, as a key for a cache; None when it would find nothing of ours.

    Cheap and total. Requests with the same text show the same credentials (a header value holds no line break).
    The text is a secret.
    """
    lines: list[str] = []
    for name, value in headers:
        lowered = name.lower()
        if lowered == _AUTHORIZATION:
            # The search is only for lines that begin with another scheme: it costs more than all the rest.
            if value[:4].upper() in {"L402", "LSAT"} or _OURS_ANYWHERE.search(value):
                lines.append(value)
        elif lowered in HEX_HEADERS and _claims_to_be_ours(lowered, value):
            lines.append(f"{lowered}: {value}")
    return "\n".join(lines) if lines else None


def read_credentials(headers: Iterable[tuple[str, str]]) -> Presented:
    """Read every credential of a request; never raises. Header names in any case."""
    authorization: list[str] = []
    hexadecimal: list[str] = []
    for name, value in headers:
        lowered = name.lower()
        if lowered == _AUTHORIZATION:
            authorization.append(value)
        elif lowered in HEX_HEADERS and _claims_to_be_ours(lowered, value):
            hexadecimal.append(value.strip(" \t"))
    elements = [element for line in authorization for element in _elements(line)]
    if elements:
        return _read_all(elements, _read_element)
    return _read_all(hexadecimal, _read_hex)


def _read_all(elements: list[str], read: Callable[[str], Credential]) -> Presented:
    credentials: list[Credential] = []
    distinct = tuple(dict.fromkeys(elements))
    malformed = len(distinct) > MAX_ELEMENTS
    for element in distinct[:MAX_ELEMENTS]:
        try:
            credential = read(element)
        except CredentialError:
            malformed = True
            continue
        if credential in credentials:
            continue
        if len(credentials) == MAX_CREDENTIALS:
            malformed = True
            break
        credentials.append(credential)
    return Presented(tuple(credentials), malformed, bool(distinct))


def _claims_to_be_ours(lowered_name: str, value: str) -> bool:
    return bool(value) and (lowered_name not in _GENERIC_HEADERS or value.lstrip(" \t").startswith(_V2_IN_HEX))


def _elements(line: str) -> Iterator[str]:
    """The elements of ours in one line, without their scheme. Everything that is somebody else's is passed over."""
    if len(line) > MAX_LINE_CHARS:
        if _OURS.match(line):
            yield ""
        return
    ours: list[str] | None = None
    for piece in _pieces(line):
        text = piece.strip(" \t")
        mine = _OURS.match(text) is not None
        if mine or _ANY_SCHEME.match(text):
            if ours is not None:
                yield ",".join(ours)
            ours = [_OUR_SCHEMES.sub("", text, count=1)] if mine else None
        elif ours is not None and (":" in text or ":" not in ours[-1]):
            # A further token; or, after the proof, garbage with a colon that makes the element malformed (L402 L34).
            ours.append(text)
    if ours is not None:
        yield ",".join(ours)


def _pieces(line: str) -> list[str]:
    """Split at commas outside quoted strings (RFC 9110 section 5.6.4); at all commas when a quote is not closed."""
    if '"' not in line:
        return line.split(",")
    pieces: list[str] = []
    start, quoted, escaped = 0, False, False
    for at, char in enumerate(line):
        if escaped:
            escaped = False
        elif char == '"':
            quoted = not quoted
        elif quoted:
            escaped = char == "\\"
        elif char == ",":
            pieces.append(line[start:at])
            start = at + 1
    return line.split(",") if quoted else [*pieces, line[start:]]


def _read_element(element: str) -> Credential:
    tokens, colon, proof = element.rpartition(":")
    texts = tokens.split(",")
    if not colon or len(texts) > MAX_TOKENS or _PROOF.fullmatch(proof) is None:
        raise CredentialError(Fault.MALFORMED, "expected tokens, one colon and a preimage in hex")
    return Credential(tuple(decode_macaroon(decode_token(text)) for text in texts), _read_proof(proof))


def _read_proof(proof: str) -> bytes:
    raw = bytes.fromhex(proof)
    if len(proof) < _LONG_PROOF_CHARS:
        return raw
    # A wallet took the node's hex for base64: encoding what it made of it gives the hex back.
    return read_preimage(binascii.b2a_base64(raw, newline=False).decode())


def _read_hex(text: str) -> Credential:
    macaroon = decode_macaroon(decode_token_hex(text))
    for raw in reversed(macaroon.caveats):
        caveat = Caveat.decode(raw)
        if caveat is not None and caveat.condition == PREIMAGE:
            return Credential((macaroon,), read_preimage(caveat.value))
    raise CredentialError(Fault.MALFORMED, "a macaroon without a preimage caveat proves no payment")
