"""Answer a client that is still sending a body nobody wants (RFC 9112 9.6), at a bounded cost."""

from __future__ import annotations

import asyncio

from aiohttp import web

from gateway.server.answer import Answer

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
    """Send the whole answer, say that nothing follows, read a little of what still comes, hang up."""
    answer.force_close()
    await answer.prepare(request)
    transport = request.transport
    if transport is not None and transport.can_write_eof():
        transport.write_eof()
    left = UNREAD_LIMIT
    try:
        async with asyncio.timeout(LINGER_S):
            while left > 0 and (chunk := await request.content.readany()):
                left -= len(chunk)
    except (TimeoutError, OSError, web.PayloadAccessError, asyncio.IncompleteReadError):
        pass
    request.protocol.force_close()
