"""The value of a Date field (RFC 9110 section 5.6.7)."""

from __future__ import annotations

import time
from email.utils import formatdate

_made: tuple[int, bytes] = (0, b"")


def http_date() -> bytes:
    """Now as IMF-fixdate, such as ``Sun, 06 Nov 1994 08:49:37 GMT``; made once a second, asked for by every answer."""
    global _made  # noqa: PLW0603 - one pair for the process, replaced whole
    now = int(time.time())
    if _made[0] != now:
        _made = (now, formatdate(now, usegmt=True).encode("ascii"))
    return _made[1]
