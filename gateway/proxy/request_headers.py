"""Header fields of the request that goes upstream: the client's, minus what it may not say, plus what we know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from gateway.errors import RequestError
from gateway.l402.credentials import HEX_HEADERS
from gateway.proxy.credential_fields import without_l402, without_l402_macaroon
from gateway.proxy.fields import HOP_BY_HOP, RawHeaders, are_names, are_values, folded, nominated
from gateway.proxy.services import MAX_KNOWN_SERVICES, Service

PSEUDONYM = b"l402gw"
"""Our name in Via (RFC 9110 section 7.6.3)."""

MAX_OWN_VIAS = 3
"""So many own names in Via mean that the request runs in circles."""

REMADE = frozenset({b"content-length", b"expect", b"host"})
"""Framing and Host are made anew for the upstream; Expect is answered here (RFC 9110 section 10.1.1)."""

# What upstreams believe about client, method or path, and what CGI turns into HTTP_PROXY.
_TRUSTED_BY_UPSTREAMS = frozenset(
    {
        b"forwarded",
        b"proxy",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-url",
        b"x-real-ip",
        b"x-rewrite-url",
    }
)
_TRUSTED_PREFIXES = (b"x-forwarded", b"x-gateway-", b"x-l402-")
_NEVER_SET = HOP_BY_HOP | REMADE | {b"via"}

_VIA = (b"Via", b"1.1 " + PSEUDONYM)

_Configured = tuple[tuple[tuple[bytes, bytes], ...], frozenset[bytes]]
_configured_for: dict[int, tuple[Service, _Configured]] = {}
"""By id, because hashing a service's values costs microseconds; the service is held, so that no id is used again."""

_Rule = Callable[[bytes], bytes | None]
"""A value's way upstream: changed, or None to leave the field out."""


def upstream_headers(
    headers: RawHeaders,
    *,
    service: Service,
    client_ip: str,
    client_scheme: str,
    client_host: str,
    identity: Sequence[tuple[str, str]],
    proxies: Sequence[str] = (),
) -> list[tuple[bytes, bytes]]:
    """Return the fields to send upstream, Host first, without framing; the client's keep spelling, order, duplicates.

    ``headers`` passed ``check_request_head``; ``client_ip`` ('' where unknown) and ``proxies`` are the parts of
    ``address_chain``; ``client_host`` is '' for HTTP/1.0 without Host; ``identity`` are X-L402 fields and values.
    Nothing is added that the client did not send but Host, Via, X-Forwarded-*, Forwarded, ``identity`` and
    ``service.set_headers``, which replace fields of the same name. Raises ``RequestError("loop_detected")``
    when Via names this gateway three times.
    """
    _check_loop(headers)
    own, replaced = _configured(service)
    names = nominated(headers)
    left_out = replaced.union(map(folded, names)) if names else replaced
    ours: Sequence[tuple[bytes, bytes]] = (
        *_about_client(client_ip, client_scheme, client_host, tuple(proxies)),
        *_about_payment(tuple(identity)),
    )
    if replaced:
        ours = [field for field in ours if folded(field[0]) not in replaced]
    return [own[0], *_kept(headers, left_out, service.forward_credentials), _VIA, *ours, *own[1:]]


def max_forwards(headers: RawHeaders) -> int | None:
    """Return the request's Max-Forwards (RFC 9110 section 7.6.2), None without a readable one.

    0 on OPTIONS is answered here; in every forwarded request the number is one less.
    """
    for name, value in headers:
        if name.lower() == b"max-forwards":
            return int(value) if value.isdigit() and len(value) <= 9 else None
    return None


def _kept(headers: RawHeaders, left_out: frozenset[bytes], forward_credentials: bool) -> list[tuple[bytes, bytes]]:
    kept = []
    for field in headers:
        name, value = field
        if left_out and folded(name) in left_out:
            continue
        rule = _rule(name)
        if rule is None or (forward_credentials and rule in _CREDENTIAL_RULES):
            kept.append(field)
        elif (changed := rule(value)) is not None:
            kept.append((name, changed))
    return kept


@lru_cache(maxsize=1024)
def _rule(name: bytes) -> _Rule | None:
    """What happens to a client's field of this name; None where it passes as it is."""
    key = folded(name)
    if b"_" in name or key in _DROPPED or key.startswith(_TRUSTED_PREFIXES):
        return _drop
    return _RULES.get(key)


def _configured(service: Service) -> _Configured:
    """Fields that are the same for every request to a service, Host first, and the folded names that they replace."""
    known = _configured_for.get(id(service))
    if known is not None and known[0] is service:
        return known[1]
    fields = [_field(name, value) for name, value in service.set_headers]
    # The configuration refuses these; were one to come through all the same, two framings would go upstream.
    fields = [field for field in fields if folded(field[0]) not in _NEVER_SET]
    made = (_field("Host", service.origin.authority), *fields), frozenset(folded(name) for name, _ in fields)
    if len(_configured_for) >= MAX_KNOWN_SERVICES:
        _configured_for.clear()
    _configured_for[id(service)] = (service, made)
    return made


@lru_cache(maxsize=4096)
def _about_payment(identity: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode("ascii"), _one_line(value)) for name, value in identity)


@lru_cache(maxsize=1024)
def _about_client(client_ip: str, scheme: str, host: str, proxies: tuple[str, ...]) -> tuple[tuple[bytes, bytes], ...]:
    host = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
    hops = [client_ip, *proxies] if client_ip else []
    fields = [("X-Forwarded-For", ", ".join(hops))] if hops else []
    fields.append(("X-Forwarded-Proto", scheme))
    if host:
        fields.append(("X-Forwarded-Host", host))
    fields.append(("Forwarded", _forwarded(hops or ["unknown"], scheme, host)))
    return tuple(_field(name, value) for name, value in fields)


def _forwarded(hops: Sequence[str], scheme: str, host: str) -> str:
    """RFC 7239: the first element is what the client asked for, the others are the proxies that it came through."""
    nodes = [f'for="[{hop}]"' if ":" in hop else f"for={hop}" for hop in hops]
    if host:
        nodes[0] += f';host="{host}"' if ":" in host else f";host={host}"
    nodes[0] += f";proto={scheme}"
    return ", ".join(nodes)


def _field(name: str, value: str) -> tuple[bytes, bytes]:
    field = (name.encode("utf-8"), value.encode("utf-8"))
    if not are_names(field[:1]) or not are_values(field[1:]):
        raise ValueError(f"{name!r} is not a header field: its name must be a token, its value without line breaks")
    return field


def _one_line(value: str) -> bytes:
    if not value.isprintable():
        raise ValueError("a field about the request's identity holds a control character")
    return value.encode("utf-8")


def _check_loop(headers: RawHeaders) -> None:
    # The length first: most names are told apart without building a lower-case copy.
    lines = [value for name, value in headers if len(name) == 3 and name.lower() == b"via"]
    if not lines:
        return
    received_by = (hop.split()[1:2] for line in lines for hop in line.lower().split(b","))
    if sum(names == [PSEUDONYM] for names in received_by) >= MAX_OWN_VIAS:
        raise RequestError("loop_detected", "the request passed through this gateway before")


def _drop(_value: bytes) -> None:
    return None


def _one_less(value: bytes) -> bytes:
    return b"%d" % max(int(value) - 1, 0) if value.isdigit() and len(value) <= 9 else value


_DROPPED = HOP_BY_HOP | REMADE | _TRUSTED_BY_UPSTREAMS
_RULES: dict[bytes, _Rule] = {
    b"authorization": without_l402,
    b"max-forwards": _one_less,
    **{name.encode(): without_l402_macaroon for name in HEX_HEADERS},
}
_CREDENTIAL_RULES = frozenset({without_l402, without_l402_macaroon})
