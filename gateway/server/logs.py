"""Log lines: one per request, JSON unless a person watches, never a secret."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from gateway.errors import OutageError
from gateway.l402.amounts import format_amount
from gateway.server.exchange import Exchange
from gateway.server.request_lines import RequestLine, RequestLines
from gateway.storage.store import StoredInvoice

_SECRETS = re.compile(
    r"(?i:\b(L402|LSAT|Bearer|Basic)\s+)[A-Za-z0-9+/_=:.,~-]{8,}"  # credentials
    r"|\b[0-9a-fA-F]{64,}\b"  # preimages, root keys, hex macaroons
    r"|\bAgE[A-Za-z0-9+/_-]{40,}=*"  # base64 of a V2 macaroon begins so
)
LONGEST_VALUE = 2_000


def redact(text: str) -> str:
    """Take out whatever looks like a credential, a key or a preimage."""
    return _SECRETS.sub("[redacted]", text)[:LONGEST_VALUE]


def _redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


def _lead_with_what_happened(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event} | dict(event)


def _for_people(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """``17:52:22 402 GET api.example.com/weather/today …`` for a request, words and details for anything else."""
    event.pop("timestamp", None)
    level, what = event.pop("level", "info"), event.pop("event", "")
    if what == "request":
        return _line(_request_words(event))
    words = [what if level == "info" else f"{level}: {what}"]
    return _line([*words, *(f"{key}={value}" for key, value in event.items() if value is not None)])


def _request_words(event: Mapping[str, Any]) -> list[str]:
    decided = f"{event['service']}/{event['route']}" if event.get("service") else ""
    target = f"{event['method']} {event['host']}{event['path']}"
    size = f"{event['bytes']} bytes in {event['ms']} ms"
    return [word for word in (str(event["status"]), target, decided, event["outcome"], size, event["client"]) if word]


def _line(words: Iterable[str]) -> str:
    # A control character in what a client sent must not reach the terminal.
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in "  ".join(words))
    return f"{datetime.now():%H:%M:%S}  {text}"


def discard_from_now_on(stream: TextIO) -> None:
    """Nobody reads ``stream`` any more: let what is still buffered go nowhere.

    Python would try to write it once more when it ends, fail, and make that the exit code (120).
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    finally:
        os.close(nowhere)


class _LossyStream:
    """Loses lines where they cannot be written (pipe closed, disk full): selling goes on without a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            discard_from_now_on(self._stream)
        except OSError:
            pass
        return 0

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            discard_from_now_on(self._stream)
        except OSError:
            pass  # a full disk may have room again later


class _LibraryLines(logging.Formatter):
    """Lines of libraries go the same way: redacted, and one JSON object each unless a person watches."""

    def __init__(self, *, people: bool) -> None:
        super().__init__("%(asctime)s  %(levelname)s: %(name)s: %(message)s", "%H:%M:%S")
        self._people = people

    def format(self, record: logging.LogRecord) -> str:
        """The whole record, traceback included."""
        if self._people:
            return redact(super().format(record))
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        fields = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": "library",
            "logger": record.name,
            "detail": redact(record.getMessage()),
            **({"exception": redact(trace)} if trace else {}),
        }
        return json.dumps(fields)


def configure_logging(*, people: bool | None = None, stream: TextIO | None = None) -> RequestLog:
    """Send all logs of the process to ``stream`` (stderr), and return the one for requests.

    ``people`` chooses readable lines instead of JSON; None asks the stream whether a person watches.
    """
    stream = sys.stderr if stream is None else stream
    people = stream.isatty() if people is None else people
    stream = cast("TextIO", _LossyStream(stream))
    renderer: Processor = _for_people if people else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            _lead_with_what_happened,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_LibraryLines(people=people))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    return RequestLog(None if people else RequestLines(stream, redact))


class RequestLog:
    """What the server tells a person: requests, outages, settlements.

    ``lines``: where lines about requests are collected; None while a person watches, who sees each of them at once.
    """

    def __init__(self, lines: RequestLines | None = None) -> None:
        self._lines = lines
        self._logger: FilteringBoundLogger = structlog.get_logger()

    @property
    def _log(self) -> FilteringBoundLogger:
        """For all other lines; those about requests that came before them are written before them."""
        self.flush()
        return self._logger

    def flush(self) -> None:
        """Write what is pending: when the server stops, nothing is lost."""
        if self._lines is not None:
            self._lines.flush()

    def request(self, exchange: Exchange) -> None:
        """One line for a finished request; the query is left out, since people put secrets there."""
        terms = exchange.route.terms if exchange.route else None
        self.line(
            RequestLine(
                time.time(),
                exchange.client,
                exchange.request.method,
                exchange.host,
                exchange.path,
                terms.service if terms else None,
                terms.route if terms else None,
                exchange.status,
                exchange.outcome,
                exchange.bytes_out,
                (time.monotonic() - exchange.started) * 1_000,
            )
        )

    def line(self, line: RequestLine) -> None:
        """The same, of a request that is described already."""
        if self._lines is not None:
            self._lines.add(line)
        else:
            said = line._asdict()
            said.update(bytes=said.pop("body_bytes"), ms=round(line.ms, 1))
            del said["at"]
            self._log.info("request", **said)

    def outage(self, exchange: Exchange, error: OutageError) -> None:
        """A request could not be decided: ours to mend."""
        self._log.error("outage", kind=type(error).__name__, detail=str(error), path=exchange.path)

    def settled(self, invoice: StoredInvoice) -> None:
        """An invoice of ours is paid."""
        self._log.info(
            "settled", hash=invoice.payment_hash.hex()[:16], paid=format_amount(invoice.paid_msat), node=invoice.backend
        )

    def interrupted(self, error: OutageError, wait_s: float) -> None:
        """Settlements cannot be followed now; what is paid meanwhile is caught up with later."""
        self._log.warning("settlements interrupted", kind=type(error).__name__, detail=str(error), again_in_s=wait_s)

    def warning(self, what: str, **details: Any) -> None:
        """Anything else worth a person's look."""
        self._log.warning(what, **details)
