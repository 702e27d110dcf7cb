"""What a refusal of lnd's means: one table from gRPC status and text to our errors.

lnd answers nearly everything with the status UNKNOWN, so that only the text tells (measured on lnd 0.21). Rows are
tried in order and the first that fits decides; what fits none is a refused request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from grpc import StatusCode

from gateway.errors import (
    GatewayError,
    NodeNotReady,
    NodeRefusedCredentials,
    NodeRefusedRequest,
    NodeUnreachable,
    UnknownInvoice,
)

_DETAIL_LIMIT = 200  # characters of lnd's own words in a message of ours


class AnswerOverdue(NodeUnreachable):
    """The deadline passed in silence. Callers need not tell it from its parent; the breaker does."""


class AlreadyPaying(NodeRefusedRequest):
    """(payer) The node has paid this invoice, or is paying it now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row: a status of ``statuses`` (none = any) whose details contain ``text`` means ``error``.

    ``text`` is a regular expression, searched without regard to case. ``quoted`` rows repeat the node's own words;
    rows about credentials never do, because lnd may quote what it could not read.
    """

    statuses: frozenset[StatusCode]
    text: str
    error: type[GatewayError]
    words: str
    quoted: bool = False

    def fits(self, status: StatusCode, details: str) -> bool:
        """Whether an answer is of this kind."""
        return (not self.statuses or status in self.statuses) and bool(re.search(self.text, details, re.IGNORECASE))


_ANY: frozenset[StatusCode] = frozenset()
_UNAVAILABLE = frozenset({StatusCode.UNAVAILABLE})
_BROKEN = frozenset({StatusCode.CANCELLED, StatusCode.INTERNAL, StatusCode.ABORTED, StatusCode.DATA_LOSS})
_DENIED = frozenset({StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED})
_UNKNOWN = frozenset({StatusCode.UNKNOWN})
_UNKNOWN_OR_NOT_FOUND = frozenset({StatusCode.UNKNOWN, StatusCode.NOT_FOUND})
_UNKNOWN_OR_UNIMPLEMENTED = frozenset({StatusCode.UNKNOWN, StatusCode.UNIMPLEMENTED})

TABLE: tuple[Outcome, ...] = (
    Outcome(
        _UNAVAILABLE,
        r"certificate_verify_failed|certificate verify failed|hostname verification|peer name .* is not in",
        NodeRefusedCredentials,
        "the node's certificate is not the one in tls_cert, or is not valid for the configured address",
    ),
    Outcome(_UNAVAILABLE, r"wrong.version.number", NodeRefusedCredentials, "what listens there does not speak TLS"),
    Outcome(_UNAVAILABLE, r"", NodeUnreachable, "no connection to the node", quoted=True),
    Outcome(frozenset({StatusCode.DEADLINE_EXCEEDED}), r"", AnswerOverdue, "no answer from the node in time"),
    Outcome(_BROKEN, r"", NodeUnreachable, "the node's answer broke off", quoted=True),
    Outcome(_UNKNOWN, r"wallet (locked|not created)", NodeNotReady, "the node's wallet is locked"),
    Outcome(
        _UNKNOWN_OR_UNIMPLEMENTED,
        r"wallet locked|unknown service lnrpc\.lightning\b",
        NodeNotReady,
        "the node's wallet is locked",
    ),
    Outcome(
        _UNKNOWN,
        r"process of starting|waiting to start",
        NodeNotReady,
        "the node is starting",
    ),
    Outcome(_UNKNOWN, r"shutting down", NodeNotReady, "the node is shutting down"),
    Outcome(_UNKNOWN, r"expected 1 macaroon, got 0", NodeRefusedCredentials, "the node wants a macaroon"),
    Outcome(
        _UNKNOWN,
        r"macaroon has expired|caveat .* not satisfied",
        NodeRefusedCredentials,
        "the macaroon has expired or is locked to something else",
    ),
    Outcome(
        _UNKNOWN,
        r"verification failed|cannot get macaroon|root key with id",
        NodeRefusedCredentials,
        "the macaroon is not one of this node's",
    ),
    Outcome(
        _UNKNOWN,
        r"unmarshal v\d|unmarshal macaroon|data format of binary-encoded macaroon|encoding/hex",
        NodeRefusedCredentials,
        "the macaroon cannot be read",
    ),
    Outcome(_UNKNOWN, r"^permission denied$", NodeRefusedCredentials, "the macaroon lacks a right for this call"),
    Outcome(_DENIED, r"", NodeRefusedCredentials, "the node refuses the macaroon"),
    Outcome(
        _UNKNOWN_OR_NOT_FOUND,
        r"unable to locate invoice|no existing invoices",
        UnknownInvoice,
        "the node does not know this payment hash",
    ),
    Outcome(
        _ANY,
        r"invoice is already paid|payment is in transition|payment already exists",
        AlreadyPaying,
        "the node has paid this invoice already, or is paying it",
    ),
    Outcome(_ANY, r"", NodeRefusedRequest, "the node refused the request", quoted=True),
)


def outcome(status: StatusCode, details: str) -> GatewayError:
    """The error of ours that says what an answer of lnd's means."""
    row = next(row for row in TABLE if row.fits(status, details))
    if row.quoted and details:
        return row.error(f"{row.words}: {details[:_DETAIL_LIMIT]}")
    return row.error(row.words)


@contextmanager
def border() -> Iterator[None]:
    """No exception of gRPC's or protobuf's gets out of this block; cancellation passes."""
    try:
        yield
    except grpc.aio.AioRpcError as refusal:
        raise outcome(refusal.code(), refusal.details() or "") from None
    except grpc.aio.UsageError:
        raise NodeUnreachable("the connection to the node is closed") from None
    except (grpc.RpcError, grpc.aio.BaseError) as failure:
        raise NodeUnreachable(f"the gRPC library failed ({type(failure).__name__})") from None
    except DecodeError:
        raise NodeUnreachable("what answers there does not speak lnd's language") from None
