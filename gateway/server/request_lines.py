"""Lines about requests, as JSON: collected while the event loop turns, written together when it has turned.

One line rendered and written alone costs as much as a third of the request that it tells of; a hundred cost one write.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as _quoted  # json.dumps of one string, in C
from typing import NamedTuple, TextIO

MOST_PENDING = 1_000
"""Lines that are held at most; they are written at once then."""
SHORTEST_SECRET = 13
"""Characters of the shortest text that redaction takes something out of: a scheme of four, a space, eight more."""


class RequestLine(NamedTuple):
    """What is said of a finished request. ``at`` is Unix seconds, ``ms`` its length."""

    at: float
    client: str
    method: str
    host: str
    path: str
    service: str | None
    route: str | None
    status: int
    outcome: str
    body_bytes: int
    ms: float


class RequestLines:
    """Writes lines to ``stream``, each string in them passed through ``redact``."""

    def __init__(self, stream: TextIO, redact: Callable[[str], str]) -> None:
        self._stream = stream
        self._redact = redact
        self._pending: list[RequestLine] = []
        self._second = (0, "")

    def add(self, line: RequestLine) -> None:
        """Keep a line until the loop has called whom it calls now. Called from the event loop."""
        self._pending.append(line)
        if len(self._pending) == 1:
            asyncio.get_running_loop().call_soon(self.flush)
        elif len(self._pending) >= MOST_PENDING:
            self.flush()

    def flush(self) -> None:
        """Write what is pending, in the order in which it came."""
        if self._pending:
            lines, self._pending = self._pending, []
            self._stream.write("".join(map(self._rendered, lines)))
            self._stream.flush()

    def _rendered(self, line: RequestLine) -> str:
        at, client, method, host, path, service, route, status, outcome, body_bytes, ms = line
        text = self._text
        return (
            f'{{"timestamp": "{self._stamp(at)}", "level": "info", "event": "request", "client": {text(client)}, '
            f'"method": {text(method)}, "host": {text(host)}, "path": {text(path)}, "service": {text(service)}, '
            f'"route": {text(route)}, "status": {status}, "outcome": {text(outcome)}, "bytes": {body_bytes}, '
            f'"ms": {ms:.1f}}}\n'
        )

    def _text(self, value: str | None) -> str:
        if value is None:
            return "null"
        return _quoted(value if len(value) < SHORTEST_SECRET else self._redact(value))

    def _stamp(self, at: float) -> str:
        """RFC 3339 with microseconds; the part down to the second is made once a second."""
        second, micros = divmod(int(at * 1_000_000), 1_000_000)
        if self._second[0] != second:
            self._second = (second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)))
        return f"{self._second[1]}.{micros:06d}Z"
