"""Every answer of our own: one table from stable codes to statuses, small JSON bodies, nothing of the input echoed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from gateway.errors import (
    BadUpstreamResponse,
    Fault,
    GatewayError,
    OutageError,
    RequestError,
    StorageUnavailable,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.l402.amounts import format_amount
from gateway.paywall.minting import IssuedChallenge
from gateway.paywall.terms import Terms
from gateway.proxy.request_head import COMMON_METHODS
from gateway.server.answer import Answer

STATUS: Mapping[str, int] = {
    "bad_request": 400,
    "bad_path": 400,
    "bad_host": 400,
    "bad_header": 400,
    "bad_framing": 400,
    "bad_connection_header": 400,
    "host_mismatch": 400,
    "ambiguous_authorization": 400,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "body_too_large": 413,
    "uri_too_long": 414,
    "expectation_failed": 417,
    "unknown_host": 421,
    "header_too_large": 431,
    "too_many_headers": 431,
    "internal_error": 500,
    "unsupported_transfer_coding": 501,
    "upstream_unreachable": 502,
    "bad_upstream_response": 502,
    "payments_unavailable": 503,
    "storage_unavailable": 503,
    "upstream_timeout": 504,
    "http_version": 505,
    "loop_detected": 508,
}
"""The HTTP status of each code that an error body can hold; 402 bodies hold a ``Fault`` value instead."""

_CODES: tuple[tuple[type[GatewayError], str], ...] = (
    (StorageUnavailable, "storage_unavailable"),
    (OutageError, "payments_unavailable"),
    (UpstreamUnreachable, "upstream_unreachable"),
    (UpstreamTimeout, "upstream_timeout"),
    (BadUpstreamResponse, "bad_upstream_response"),
)
"""The code of each error that carries none itself; the first row that fits decides."""

CLOSING = frozenset(
    {
        "bad_request", "bad_path", "bad_host", "bad_header", "bad_framing", "bad_connection_header", "host_mismatch",
        "ambiguous_authorization", "uri_too_long", "header_too_large", "too_many_headers", "http_version",
        "unsupported_transfer_coding", "body_too_large", "request_timeout", "internal_error",
    }
)  # fmt: skip
"""After these the connection's framing or its client is not to be trusted any more."""

METHODS = ", ".join(COMMON_METHODS)
"""What may be asked of this server (RFC 9110 15.5.6); a route may allow fewer."""
RETRY_AFTER_S = 5
EXPOSED_HEADERS = "WWW-Authenticate, L402-Price, Retry-After"
_RECOVERABLE_401 = frozenset({Fault.MALFORMED, Fault.INVALID_TOKEN, Fault.INVALID_PREIMAGE})
"""What ``invalid_credential_status: 401`` turns from 402 into 401 (L402 L5, L6)."""


def code_of(error: GatewayError) -> str:
    """The stable code for an error of ours."""
    if isinstance(error, RequestError):
        return error.code if error.code in STATUS else "bad_request"
    return next((code for kind, code in _CODES if isinstance(error, kind)), "internal_error")


def error_answer(code: str, *, close: bool = False, headers: Mapping[str, str] | None = None) -> Answer:
    """A JSON error: ``{"error": code}``."""
    answer = _json(STATUS.get(code, 500), {"error": code})
    if STATUS.get(code) == 503:
        answer.add("Retry-After", str(RETRY_AFTER_S))
    for name, value in (headers or {}).items():
        answer.add(name, value)
    if code == "method_not_allowed" and not headers:
        # CONNECT or TRACE: refused wherever they point, and what follows a CONNECT may be no request
        answer.add("Allow", METHODS)
        close = True
    if close or code in CLOSING:
        answer.force_close()
    return answer


def payment_answer(
    challenge: IssuedChallenge, terms: Terms, fault: Fault, *, network: str, play_money: bool, invalid_status: int
) -> Answer:
    """402 with a challenge, in exactly one WWW-Authenticate line: a second one costs a client.

    That is decision 2 of docs/conformance.md. The body repeats the header's values under the names that deployed
    clients read. ``invalid_status`` (402 or 401) is the status where another attempt with the same token may do.
    """
    body: dict[str, Any] = {
        "error": fault.value,
        "price": format_amount(terms.price_msat),
        "price_msat": terms.price_msat,
        # l402kit and bolthub read whole satoshis from these two names
        "priceSats": math.ceil(terms.price_msat / 1_000),
        "amountSats": math.ceil(terms.price_msat / 1_000),
        "service": terms.service,
        "invoice": challenge.invoice,
        "macaroon": challenge.token,
        "payment_hash": challenge.payment_hash.hex(),
        "expires_at": challenge.expires_at,
        "network": network,
        "play_money": play_money,
        "next": "pay the invoice, then repeat the request with 'Authorization: L402 <macaroon>:<preimage in hex>'",
    }
    if terms.valid_for_s is not None:
        body["valid_for_seconds"] = terms.valid_for_s
    status = invalid_status if fault in _RECOVERABLE_401 else 402
    answer = _json(status, body)
    answer.add("WWW-Authenticate", challenge.header)
    _price_headers(answer, terms)
    return answer


def price_answer(terms: Terms, fault: Fault) -> Answer:
    """402 to HEAD: the price without an invoice, so that crawlers and probes cost the node nothing."""
    answer = _json(402, {"error": fault.value})
    _price_headers(answer, terms)
    return answer


def preflight_answer(requested_headers: str, allow: str) -> Answer:
    """The answer to a browser's CORS preflight for a priced route: any origin may ask, none may send cookies."""
    return Answer(
        204,
        [
            ("Access-Control-Allow-Origin", "*"),
            ("Access-Control-Allow-Methods", allow),
            ("Access-Control-Allow-Headers", requested_headers or "Authorization"),
            ("Access-Control-Max-Age", "600"),
            ("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"),
            ("Cache-Control", "no-store"),
        ],
    )


def options_answer() -> Answer:
    """The answer to ``OPTIONS *``, which is about this server and no upstream (RFC 9110 9.3.7)."""
    return Answer(200, [("Allow", METHODS), ("Cache-Control", "no-store")])


def _price_headers(answer: Answer, terms: Terms) -> None:
    answer.add("L402-Price", f"{terms.price_msat} msat")
    answer.add("Access-Control-Allow-Origin", "*")
    answer.add("Access-Control-Expose-Headers", EXPOSED_HEADERS)


def _json(status: int, body: Mapping[str, Any]) -> Answer:
    fields = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    return Answer(status, fields, json.dumps(body).encode() + b"\n")
