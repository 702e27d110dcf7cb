"""Log lines: one per request, JSON unless a person watches, never a secret."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from gateway.errors import OutageError
from gateway.l402.amounts import format_amount
from gateway.storage.store import StoredInvoice

if TYPE_CHECKING:
    from gateway.server.requests import Exchange

_SECRETS = re.compile(
    r"(?i:\b(L402|LSAT|Bearer|Basic)\s+)[A-Za-z0-9+/_=:.,~-]{8,}"  # credentials
    r"|\b[0-9a-fA-F]{64,}\b"  # preimages, root keys, hex macaroons
    r"|\bAgE[A-Za-z0-9+/_-]{40,}=*"  # base64 of a V2 macaroon begins so
)
LONGEST_VALUE = 2_000


def redact(text: str) -> str:
    """Take out whatever looks like a credential, a key or a preimage."""
    return _SECRETS.sub("[redacted]", text)[:LONGEST_VALUE]


def _redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


class _RedactingHandler(logging.StreamHandler[TextIO]):
    """Lines of libraries go the same way: redacted, one format."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure_logging(*, people: bool | None = None, stream: TextIO | None = None) -> None:
    """Send all logs to ``stream`` (stderr). ``people`` chooses readable lines instead of JSON; None asks the stream."""
    stream = sys.stderr if stream is None else stream
    people = stream.isatty() if people is None else people
    renderer: Any = structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = _RedactingHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


class RequestLog:
    """What the server tells a person: requests, outages, settlements."""

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    def request(self, exchange: Exchange) -> None:
        """One line for a finished request; the query is left out, since people put secrets there."""
        route = exchange.route
        self._log.info(
            "request",
            client=exchange.client,
            method=exchange.request.method,
            host=exchange.host,
            path=exchange.path,
            service=route.terms.service if route else None,
            route=route.terms.route if route else None,
            status=exchange.status,
            outcome=exchange.outcome,
            bytes=exchange.bytes_out,
            ms=round((time.monotonic() - exchange.started) * 1_000, 1),
        )

    def outage(self, exchange: Exchange, error: OutageError) -> None:
        """A request could not be decided: ours to mend."""
        self._log.error("outage", kind=type(error).__name__, detail=str(error), path=exchange.path)

    def settled(self, invoice: StoredInvoice) -> None:
        """An invoice of ours is paid."""
        self._log.info(
            "settled", hash=invoice.payment_hash.hex()[:16], paid=format_amount(invoice.paid_msat), node=invoice.backend
        )

    def interrupted(self, error: OutageError, wait_s: float) -> None:
        """Settlements cannot be followed now."""
        self._log.warning("settlements", kind=type(error).__name__, detail=str(error), again_in_s=wait_s)

    def warning(self, what: str, **details: Any) -> None:
        """Anything else worth a person's look."""
        self._log.warning(what, **details)
