"""Answer a client that is still sending a body nobody wants (RFC 9112 9.6), at a bounded cost."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.server.answer import Answer
from gateway.server.listener import RECEIVE_BYTES

UNREAD_LIMIT = 65_536
"""Bytes of an unwanted body that are read after the answer, so that a reset does not overtake it."""
LINGER_S = 1.0


def large_body_unread(request: web.BaseRequest) -> bool:
    """True where the rest of the body is long or of unknown length; a short one is read and the connection kept."""
    if not request.body_exists or request.content.at_eof():
        return False
    length = request.headers.get("Content-Length")
    return length is None or int(length) > UNREAD_LIMIT


async def answer_and_linger(request: web.BaseRequest, answer: Answer) -> None:
    """Send the whole answer, say that nothing follows, read a little of what still comes, hang up.

    A client that sends more than that has the rest of ``LINGER_S`` seconds to take its answer.
    """
    answer.force_close()
    await answer.prepare(request)
    transport, body = request.transport, request.content
    try:
        if transport is not None and transport.can_write_eof():
            transport.write_eof()
        async with asyncio.timeout(LINGER_S):
            # what arrived with the head, or while the request was decided upon, counts too
            while body.total_bytes <= UNREAD_LIMIT - RECEIVE_BYTES and await body.readany():
                pass
            if not body.is_eof():
                request.protocol.pause_reading()
                await asyncio.Event().wait()
    except (TimeoutError, OSError, web.PayloadAccessError, web.RequestPayloadError, asyncio.IncompleteReadError):
        pass
    request.protocol.force_close()
