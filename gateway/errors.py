"""Every error that crosses a room's border, drawn as a tree.

::

    GatewayError
    ├── ConfigError              the operator's file; carries every problem found
    ├── RequestError             the client's HTTP request is refused (4xx); carries a stable code
    ├── CredentialError          an L402 credential cannot be read or does not verify; carries a Fault
    ├── ChallengeError           (buyer) a server's 402 cannot be understood
    ├── InvoiceError             a BOLT11 string cannot be decoded
    ├── UnknownInvoice           the node does not know this payment hash
    ├── PaymentFailed            (buyer) the wallet could not pay
    ├── BuyerError               (buyer) anything else that ends a purchase; carries a stable code
    ├── OutageError              ours; the client may come back later (503)
    │   ├── NodeUnreachable      no connection to the node, or no answer in time
    │   ├── NodeNotReady         the node is starting, or its wallet is locked
    │   ├── NodeRefusedCredentials   wrong macaroon, missing right, wrong certificate
    │   ├── NodeRefusedRequest   the node understood and said no
    │   ├── InvoiceMismatch      the node returned an invoice that is not what was asked for
    │   ├── StorageUnavailable   the database is locked, full, gone or corrupt
    │   └── SchemaMismatch       the database needs `gateway db upgrade`, or is newer than this gateway
    └── UpstreamError            the seller's API (502 or 504)
        ├── UpstreamUnreachable
        ├── UpstreamTimeout
        └── BadUpstreamResponse

Core errors carry no HTTP status: one table in ``gateway.server`` maps them. Messages never hold a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class GatewayError(Exception):
    """Base of all errors raised on purpose by this package."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration file; ``line`` and ``column`` count from 1 (0 = unknown)."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigError(GatewayError):
    """The configuration cannot be used. ``problems`` lists every mistake, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class RequestError(GatewayError):
    """The request is refused as the client's fault. ``code`` is stable, lower_snake_case."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code


class Fault(StrEnum):
    """Why a credential buys nothing; the value is the stable code in a 402's body."""

    MISSING = "payment_required"
    MALFORMED = "malformed_credential"
    INVALID_TOKEN = "invalid_token"
    INVALID_PREIMAGE = "invalid_preimage"
    INVALID_CAVEAT = "invalid_caveat"
    EXPIRED = "token_expired"
    REVOKED = "token_revoked"
    SCOPE = "insufficient_scope"
    NOT_SETTLED = "payment_not_settled"


class CredentialError(GatewayError):
    """A credential is refused for ``fault``. The message never repeats the credential."""

    def __init__(self, fault: Fault, message: str = "") -> None:
        super().__init__(message or fault.value)
        self.fault = fault


class ChallengeError(GatewayError):
    """A 402 answer holds no challenge that this client can use."""


class InvoiceError(GatewayError):
    """A BOLT11 string is malformed."""


class UnknownInvoice(GatewayError):
    """The node does not know the payment hash."""


class PaymentFailed(GatewayError):
    """The wallet could not pay the invoice; nothing was bought."""


class BuyerError(GatewayError):
    """A purchase ended early. ``code`` is stable, lower_snake_case."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class OutageError(GatewayError):
    """Something of ours is out of order: answered 503 with Retry-After, never 402, and lets nobody in."""


class NodeUnreachable(OutageError):
    """No connection to the node, or no answer within the deadline."""


class NodeNotReady(OutageError):
    """The node answers, but is starting or its wallet is locked."""


class NodeRefusedCredentials(OutageError):
    """The node refuses our macaroon, its rights, or we refuse its certificate."""


class NodeRefusedRequest(OutageError):
    """The node understood the request and refused it."""


class InvoiceMismatch(OutageError):
    """The node returned an invoice whose hash, amount, network or expiry is not what was asked for."""


class StorageUnavailable(OutageError):
    """The database cannot be read or written now."""


class SchemaMismatch(OutageError):
    """The database schema is older or newer than this gateway understands."""


class UpstreamError(GatewayError):
    """The seller's API failed."""


class UpstreamUnreachable(UpstreamError):
    """No connection; no byte of the request was sent."""


class UpstreamTimeout(UpstreamError):
    """The upstream did not answer in time."""


class BadUpstreamResponse(UpstreamError):
    """The upstream's answer breaks HTTP."""
