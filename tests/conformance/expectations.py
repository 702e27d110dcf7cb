"""R73 to R83: Expect, Max-Forwards, Upgrade."""

from __future__ import annotations

from tests.conformance.rows import CREDENTIAL, PAID_IDENTITY, Row, get, head, passes, post, upstream

_EXPECT = b"Expect: 100-continue"
_LENGTH = b"Content-Length: 3"
_H2C = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
_WEBSOCKET = (
    b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip
_END_TO_END = _WEBSOCKET[2:]
_PLAIN = upstream(b"GET /free/x HTTP/1.1")
_ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

EXPECTATIONS = [
    Row("R73", "unpaid", post(_EXPECT, _LENGTH, target=b"/paid/x", body=b"abc"), 402, "payment_required"),
    Row("R74", "paid", post(b"Authorization: " + CREDENTIAL, _EXPECT, _LENGTH, target=b"/paid/x", body=b"abc"),
        may_continue=True,
        seen=(upstream(b"POST /paid/x HTTP/1.1", framing=_LENGTH, body=b"abc", identity=PAID_IDENTITY),)),
    Row("R74", "free", post(_EXPECT, _LENGTH, body=b"abc"), may_continue=True,
        seen=(upstream(b"POST /free/x HTTP/1.1", framing=_LENGTH, body=b"abc"),)),
    Row("R75", "another expectation", get(b"/free/x", b"Expect: foo"), 417, "expectation_failed"),
    Row("R76", "in HTTP/1.0", post(_EXPECT, _LENGTH, body=b"abc", version=b"1.0"), close=True,
        seen=(upstream(b"POST /free/x HTTP/1.1", framing=_LENGTH, body=b"abc"),)),
    Row("R77", "0 on OPTIONS", head(b"OPTIONS /free/x HTTP/1.1", b"Max-Forwards: 0"), code="-", fields=(_ALLOW,)),
    Row("R77", "3 on OPTIONS", head(b"OPTIONS /free/x HTTP/1.1", b"Max-Forwards: 3"),
        seen=(upstream(b"OPTIONS /free/x HTTP/1.1", b"Max-Forwards: 2"),)),
    passes("R77", "3 on GET", b"Max-Forwards: 3", kept=(b"Max-Forwards: 2",)),
    Row("R78", "h2c", get(b"/free/x", *_H2C), close=True, seen=(_PLAIN,)),
    Row("R78", "h2c, unpaid", get(b"/paid/x", *_H2C), 402, "payment_required", close=True),
    Row("R79", "an unknown protocol", get(b"/free/x", b"Connection: Upgrade", b"Upgrade: foo"),
        close=True, seen=(_PLAIN,)),
    Row("R79", "with a body", post(b"Connection: Upgrade", b"Upgrade: foo", _LENGTH, body=b"abc"),
        close=True, seen=(upstream(b"POST /free/x HTTP/1.1", framing=_LENGTH, body=b"abc"),)),
    Row("R79", "not nominated", get(b"/free/x", b"Upgrade: foo"), seen=(_PLAIN,)),
    Row("R80", "a WebSocket, unpaid", get(b"/paid/x", *_WEBSOCKET), 402, "payment_required", close=True),
    Row("R81", "a WebSocket", get(b"/free/x", *_WEBSOCKET), close=True, quirk=True,
        seen=(upstream(b"GET /free/x HTTP/1.1", *_END_TO_END),)),
    Row("R82", "a WebSocket that the upstream refuses", get(b"/free/x?no", *_WEBSOCKET), close=True, quirk=True,
        seen=(upstream(b"GET /free/x?no HTTP/1.1", *_END_TO_END),)),
    Row("R83", "a WebSocket in HTTP/1.0", head(b"GET /free/x HTTP/1.0", *_WEBSOCKET), 400, "bad_request", close=True),
    Row("R83", "a WebSocket by POST", post(*_WEBSOCKET), 400, "bad_request", close=True),
]  # fmt: skip
