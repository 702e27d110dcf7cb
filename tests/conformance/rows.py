"""What a row of the request tables is, and short ways to write one.

A case (R01 and on for requests, S01 and on for answers) names one rule, in tests/proxy and tests/server too.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.conformance.site import ANSWER, BODY

CREDENTIAL = b"@credential@"
"""Stands for an Authorization value that paid."""
PROBE = b"GET /free/probe HTTP/1.1\r\nHost: shop\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Row:
    """Bytes from a client and what must come of them.

    ``before`` ordinary 200s precede the answer with ``status``; ``code`` is the stable code of an error of ours, ''
    where the upstream answers. ``seen`` are the requests that the upstream gets, nothing else reaches it.
    """

    case: str
    what: str
    sent: bytes
    status: int = 200
    code: str = ""
    close: bool = False
    seen: tuple[bytes, ...] = ()
    fields: tuple[bytes, ...] = ()
    """Lines that the answer's head must hold."""
    before: int = 0
    to_head: bool = False
    may_begin: bool = False
    """Its body was on its way upstream before the fault: the upstream may see a part of it, never the whole."""
    may_continue: bool = False
    """A 100 may come first."""
    quirk: bool = False
    """Decided otherwise than the table; quirks.md says why."""
    hosts: bool = False
    """Asked of the site with one host and trusted proxies."""

    def __str__(self) -> str:
        return f"{self.case} {self.what}"


def head(line: bytes, *fields: bytes, host: bytes | None = b"shop") -> bytes:
    """A request head with a Host after its request line."""
    named = () if host is None else (b"Host: " + host,)
    return b"\r\n".join([line, *named, *fields]) + b"\r\n\r\n"


def get(target: bytes, *fields: bytes) -> bytes:
    return head(b"GET " + target + b" HTTP/1.1", *fields)


def post(*fields: bytes, body: bytes = b"", target: bytes = b"/free/x", version: bytes = b"1.1") -> bytes:
    return head(b"POST %b HTTP/%b" % (target, version), *fields) + body


def upstream(
    line: bytes,
    *kept: bytes,
    framing: bytes = b"",
    body: bytes = b"",
    host: bytes = b"shop",
    hops: tuple[bytes, ...] = (b"127.0.0.1",),
    identity: tuple[bytes, ...] = (b"X-L402-Service: free", b"X-L402-Price-Msat: 0"),
) -> bytes:
    """Every byte of a forwarded request: the client's fields that are kept, and what the gateway says itself."""
    nodes = [b'for="[%b]"' % hop if b":" in hop else b"for=" + hop for hop in hops]
    written = b'"%b"' % host if b":" in host else host
    nodes[0] += (b";host=" + written if host else b"") + b";proto=http"
    lines = [line, b"Host: upstream", *kept, b"Via: 1.1 l402gw", b"X-Forwarded-For: " + b", ".join(hops)]
    lines += [b"X-Forwarded-Proto: http", *([b"X-Forwarded-Host: " + host] if host else [])]
    lines += [b"Forwarded: " + b", ".join(nodes), *identity, *([framing] if framing else [])]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


PAID_IDENTITY = (b"X-L402-Token-Id: id", b"X-L402-Service: paid", b"X-L402-Price-Msat: 10000")
SEEN_PROBE = upstream(b"GET /free/probe HTTP/1.1")


def relayed(*, close: bool = False, to_head: bool = False, old: bool = False, paid: bool = False) -> bytes:
    """Every byte of the upstream's ordinary answer on the client's side."""
    line = b"Connection: close\r\n" if close else b"Connection: keep-alive\r\n" if old else b""
    added = b"Vary: Authorization\r\nCache-Control: private\r\n" if paid else b""
    return ANSWER + added + line + b"\r\n" + (b"" if to_head else BODY)


def refused(case: str, what: str, sent: bytes, code: str, *, status: int = 400, quirk: bool = False) -> Row:
    """Nothing reaches the upstream, and the connection ends."""
    return Row(case, what, sent, status, code, close=True, quirk=quirk)


def bad_paths(case: str, *targets: bytes, code: str = "bad_path") -> list[Row]:
    return [refused(case, repr(target)[2:-1], get(target), code) for target in targets]


def passes(case: str, what: str, *fields: bytes, kept: tuple[bytes, ...] | None = None, quirk: bool = False) -> Row:
    """A GET with ``fields``, of which the upstream sees ``kept`` (all of them)."""
    seen = upstream(b"GET /free/x HTTP/1.1", *(fields if kept is None else kept))
    return Row(case, what, get(b"/free/x", *fields), seen=(seen,), quirk=quirk)
