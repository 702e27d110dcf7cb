"""Byte for byte what a hostile or careless client sends, and what it gets; the upstream sees nothing of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.server.rig import Rig

PLAIN = b"Host: shop\r\n"

REFUSED: dict[str, tuple[bytes, int, str]] = {
    "dot segments": (b"GET /open/../weather/x HTTP/1.1\r\n" + PLAIN, 400, "bad_path"),
    "encoded dots": (b"GET /open/%2e%2e%2fweather HTTP/1.1\r\n" + PLAIN, 400, "bad_path"),
    "another host in the path": (b"GET //evil.example/x HTTP/1.1\r\n" + PLAIN, 400, "bad_path"),
    "absolute form, other host": (b"GET http://other/weather HTTP/1.1\r\n" + PLAIN, 400, "host_mismatch"),
    "no host": (b"GET /weather/x HTTP/1.1\r\n", 400, "bad_host"),
    "two hosts": (b"GET /weather/x HTTP/1.1\r\n" + PLAIN + b"Host: b\r\n", 400, "bad_host"),
    "bad host": (b"GET /weather/x HTTP/1.1\r\nHost: a b/c@d\r\n", 400, "bad_host"),
    "length and chunked": (
        b"POST /weather/x HTTP/1.1\r\n" + PLAIN + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400, "bad_",
    ),
    "signed length": (b"POST /weather/x HTTP/1.1\r\n" + PLAIN + b"Content-Length: +5\r\n", 400, "bad_"),
    "gzip, chunked": (
        b"POST /weather/x HTTP/1.1\r\n" + PLAIN + b"Transfer-Encoding: gzip, chunked\r\n",
        501,
        "unsupported_transfer_coding",
    ),
    "long line": (b"GET /weather/" + b"x" * 9_000 + b" HTTP/1.1\r\n" + PLAIN, 414, "uri_too_long"),
    "long header": (b"GET /weather/x HTTP/1.1\r\n" + PLAIN + b"X-A: " + b"x" * 9_000 + b"\r\n", 431, "header_too_"),
    "many headers": (
        b"GET /weather/x HTTP/1.1\r\n" + PLAIN + b"".join(b"X-%d: 1\r\n" % n for n in range(129)), 431, "too_many_",
    ),
    "HTTP/2.0": (b"GET /weather/x HTTP/2.0\r\n" + PLAIN, 505, "http_version"),
    "control byte": (b"GET /weather/x HTTP/1.1\r\n" + PLAIN + b"X-A: a\x01b\r\n", 400, "bad_"),
    "bytes that are not UTF-8": (b"GET /weather/x HTTP/1.1\r\n" + PLAIN + b"X-A: ad\xffmin\r\n", 400, "bad_header"),
    "TRACE": (b"TRACE /weather/x HTTP/1.1\r\n" + PLAIN, 405, "method_not_allowed"),
    "nominated Authorization": (
        b"GET /weather/x HTTP/1.1\r\n" + PLAIN + b"Connection: Authorization\r\n", 400, "bad_connection_header",
    ),
    "expectation": (b"GET /weather/x HTTP/1.1\r\n" + PLAIN + b"Expect: banana\r\n", 417, "expectation_failed"),
    "R21 HTTP/0.9": (b"GET /weather/x\r\n", 400, "bad_request"),
    "R29 lower-case method": (b"get /weather/x HTTP/1.1\r\n" + PLAIN, 400, "bad_request"),
}  # fmt: skip


async def exchange(rig: Rig, sent: bytes) -> bytes:
    """Everything that comes back for ``sent``, until the gateway hangs up or stays silent after a whole answer."""
    reader, writer = await asyncio.open_connection(*rig.gateway.address)
    try:
        writer.write(sent)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        return head + await asyncio.wait_for(reader.readexactly(length), 10)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_ambiguous_is_refused_with_a_stable_code_and_no_echo(rig: Rig, name: str) -> None:
    sent, status, code = REFUSED[name]
    received = await exchange(rig, sent + b"\r\n")
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), received
    assert json.loads(body)["error"].startswith(code), received
    assert b"content-type: application/json" in head.lower()
    assert b"aiohttp" not in head
    assert b"xxxx" not in received
    assert b"evil" not in received
    if status in {400, 414, 431, 501, 505}:
        assert b"connection: close" in head.lower()
    assert rig.upstream.seen == []
    assert "Traceback" not in rig.log.getvalue()


async def test_options_star_is_answered_here(rig: Rig) -> None:
    received = await exchange(rig, b"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b"allow: get" in received.lower()
    assert rig.upstream.seen == []


async def test_absolute_form_is_priced_like_the_path_in_it(rig: Rig) -> None:
    received = await exchange(rig, b"GET http://shop/weather/x HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 402 ")


async def test_an_encoded_letter_does_not_hide_a_priced_path(rig: Rig) -> None:
    received = await exchange(rig, b"GET /%77eather/x HTTP/1.1\r\nHost: shop\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 402 ")
    assert rig.upstream.seen == []


async def test_http_1_0_without_a_host_is_served_and_closed(rig: Rig) -> None:
    received = await exchange(rig, b"GET /weather/status HTTP/1.0\r\n\r\n")
    assert received.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 "))
    assert b"connection: close" in received.lower() or b"keep-alive" not in received.lower()


async def test_options_that_may_be_forwarded_no_further_is_answered_here(rig: Rig) -> None:
    received = await exchange(rig, b"OPTIONS /weather/status HTTP/1.1\r\nHost: shop\r\nMax-Forwards: 0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 ")
    assert rig.upstream.seen == []


async def test_a_client_that_ended_its_side_is_still_answered_and_then_closed(rig: Rig) -> None:
    reader, writer = await asyncio.open_connection(*rig.gateway.address)
    writer.write(b"GET /weather/status HTTP/1.1\r\nHost: shop\r\n\r\n")
    writer.write_eof()
    received = await asyncio.wait_for(reader.read(), 5)
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(b"}")
    writer.close()
    await writer.wait_closed()


async def test_an_idle_connection_that_ends_is_closed_at_once(rig: Rig) -> None:
    reader, writer = await asyncio.open_connection(*rig.gateway.address)
    writer.write(b"GET /weather/status HTTP/1.1\r\nHost: shop\r\n\r\n")
    await reader.readuntil(b"}")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await writer.wait_closed()


async def test_an_upload_that_is_cut_short_never_looks_whole_to_the_upstream(rig: Rig) -> None:
    paid = await rig.buy("/weather/today")
    reader, writer = await asyncio.open_connection(*rig.gateway.address)
    head = f"POST /weather/today HTTP/1.1\r\nHost: shop\r\nAuthorization: {paid}\r\nContent-Length: 10\r\n\r\n"
    writer.write(head.encode() + b"01234")
    writer.write_eof()
    received = await asyncio.wait_for(reader.read(), 5)
    assert not received.startswith(b"HTTP/1.1 200 ")
    assert all(body != b"01234" for _, _, _, body in rig.upstream.seen)
    writer.close()
    await writer.wait_closed()
