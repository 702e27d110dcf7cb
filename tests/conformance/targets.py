"""R01 to R37: request line, target and Host."""

from __future__ import annotations

from tests.conformance.rows import Row, bad_paths, get, head, passes, refused, upstream

_SEEN_X = upstream(b"GET /free/x HTTP/1.1")
_QUERY = b'/free/x?x=%2F&y=a+b&z=[1]{2}|^"'
_LONGEST = b"/free/" + b"x" * 8_184
_ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


def _line(case: str, line: bytes, code: str, status: int = 400, *, quirk: bool = False) -> Row:
    return refused(case, repr(line)[2:-1], head(line), code, status=status, quirk=quirk)


TARGETS = [
    Row("R01", "a plain path", get(b"/free/x"), seen=(_SEEN_X,)),
    Row("R02", "empty lines before the request line", b"\r\n\r\n" + get(b"/free/x"), seen=(_SEEN_X,)),
    *bad_paths("R03", b"/free/../paid/x"),
    *bad_paths("R04", b"/free/%2e%2e/paid/x", b"/free/%2E%2E/paid/x", b"/free/.%2e/paid/x"),
    *bad_paths("R05", b"/free/..;/paid/x", b"/free/..;a=b/paid/x"),
    *bad_paths("R06", b"/free/..%2fpaid/x", b"/free/%2e%2e%2fpaid"),
    *bad_paths("R07", b"//evil.example/x", b"//u@evil:99999/x"),
    *bad_paths("R08", b"/free//paid/x"),
    *bad_paths("R09", rb"/free\..\paid", rb"/free/..\paid"),
    Row("R10", "an encoded letter in a priced path", get(b"/%70aid/x"), 402, "payment_required"),
    Row("R11", "a priced path in other letters", get(b"/PAID/x"), 404, "not_found", quirk=True),
    Row("R12", "absolute form, priced", get(b"http://shop/paid/x"), 402, "payment_required"),
    Row("R12", "absolute form, free", get(b"http://shop/free/x"), seen=(_SEEN_X,)),
    Row("R12", "absolute form, other letters", get(b"HTTP://Shop:80/free/x"), seen=(_SEEN_X,)),
    *bad_paths("R13", b"http://other/free/x", code="host_mismatch"),
    *bad_paths("R14", b"https://shop/free/x", b"ftp://shop/free/x"),
    *bad_paths("R15", b"http://u:p@shop/free/x", b"http://shop@other/free/x", code="host_mismatch"),
    *bad_paths("R16", b"/free/a#frag", b"/free/a?#f"),
    *bad_paths("R17", b"/free/a%", b"/free/a%1", b"/free/a%zz", b"/free/a%00", b"/free/a%0d%0aX:"),
    *bad_paths("R18", "/free/é".encode(), b"/free/\xff", b"/free/a?\xff"),
    *bad_paths("R18", b"/free/a b", code="bad_request"),
    *bad_paths("R18", b"/free/\ta", b"/free/\x00", b"/free/\x01", b"/free/\x7f"),
    Row("R19", "a query of odd characters", get(_QUERY), seen=(upstream(b"GET " + _QUERY + b" HTTP/1.1"),)),
    Row("R19", "a lone question mark", get(b"/free/x?"), seen=(upstream(b"GET /free/x? HTTP/1.1"),)),
    Row("R20", "8190 bytes", get(_LONGEST), seen=(upstream(b"GET " + _LONGEST + b" HTTP/1.1"),)),
    refused("R20", "8191 bytes", get(_LONGEST + b"x"), "uri_too_long", status=414),
    refused("R21", "no version", b"GET /free/x\r\n\r\n", "bad_request"),
    _line("R21", b"GET /free/x HTTP/0.9", "bad_request"),
    _line("R21", b"GET /HTTP/1.1", "bad_request"),
    _line("R22", b"GET /free/x HTTP/2.0", "http_version", 505),
    _line("R22", b"GET /free/x HTTP/3.0", "http_version", 505),
    _line("R22", b"GET /free/x HTTP/1.2", "http_version", 505),
    _line("R22", b"GET /free/x http/1.1", "bad_request", quirk=True),
    _line("R22", b"PRI * HTTP/2.0", "http_version", 505),
    refused("R22", "HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http_version", status=505),
    Row("R23", "HTTP/1.0 without Host", head(b"GET /free/x HTTP/1.0", host=None), close=True,
        seen=(upstream(b"GET /free/x HTTP/1.1", host=b""),)),
    Row("R24", "two spaces before the target", head(b"GET  /free/x HTTP/1.1"), seen=(_SEEN_X,), quirk=True),
    Row("R24", "two spaces behind the target", head(b"GET /free/x  HTTP/1.1"), seen=(_SEEN_X,), quirk=True),
    _line("R24", b"GET /free/x HTTP/1.1 ", "bad_request"),
    _line("R24", b"GET\t/free/x HTTP/1.1", "bad_request"),
    refused("R25", "LF after the request line", b"GET /free/x HTTP/1.1\nHost: shop\r\n\r\n", "bad_request"),
    refused("R25", "LF after a field", b"GET /free/x HTTP/1.1\r\nHost: shop\n\r\n", "bad_header"),
    refused("R25", "LF as the empty line", b"GET /free/x HTTP/1.1\r\nHost: shop\r\n\n", "bad_header"),
    refused("R25", "LF everywhere", b"GET /free/x HTTP/1.1\nHost: shop\n\n", "bad_request"),
    Row("R26", "OPTIONS *", head(b"OPTIONS * HTTP/1.1"), fields=(_ALLOW,), code="-"),
    _line("R26", b"GET * HTTP/1.1", "bad_path"),
    Row("R27", "CONNECT, authority form", head(b"CONNECT shop:80 HTTP/1.1"), 405, "method_not_allowed", close=True,
        fields=(_ALLOW,)),
    Row("R27", "CONNECT, a path", head(b"CONNECT /free/x HTTP/1.1"), 405, "method_not_allowed", close=True,
        fields=(_ALLOW,)),
    Row("R28", "TRACE", head(b"TRACE /free/x HTTP/1.1", b"Cookie: a=b"), 405, "method_not_allowed", close=True,
        fields=(_ALLOW,)),
    _line("R29", b"get /free/x HTTP/1.1", "bad_request"),
    _line("R29", b"G@T /free/x HTTP/1.1", "bad_request"),
    _line("R30", b"FOO /free/x HTTP/1.1", "bad_request"),
    Row("R31", "HEAD on a priced path", head(b"HEAD /paid/x HTTP/1.1"), 402, "payment_required", to_head=True,
        fields=(b"L402-Price: 10000 msat", b"Access-Control-Allow-Origin: *", b"Cache-Control: no-store")),
]  # fmt: skip


def _host(case: str, value: bytes) -> Row:
    return refused(case, repr(value)[2:-1], head(b"GET /free/x HTTP/1.1", host=value), "bad_host")


HOSTS = [
    refused("R32", "no Host", head(b"GET /free/x HTTP/1.1", host=None), "bad_host"),
    refused("R33", "two Hosts, the same", get(b"/free/x", b"Host: shop"), "bad_host"),
    refused("R33", "two Hosts", get(b"/free/x", b"hOST: other"), "bad_host"),
    *(_host("R34", value) for value in (b"a b/c@d", b"a, b", b"", b"u:p@a", b"a#b", b"a?b", b"a:99999", b"[::1",
                                        b"a/b", b"a:80:80", b"a:x", b"*", b".", b"a..b", b"%61")),
    refused("R34", "no UTF-8", head(b"GET /free/x HTTP/1.1", host=b"\xff"), "bad_header"),
    Row("R35", "a host that is not served", head(b"GET /free/x HTTP/1.1", host=b"other"), 421, "unknown_host",
        hosts=True),
    Row("R36", "one host in other letters", head(b"GET /free/x HTTP/1.1", host=b"A.Example.:80"), hosts=True,
        seen=(upstream(b"GET /free/x HTTP/1.1", host=b"A.Example.:80"),)),
    Row("R37", "the upstream's own Host", head(b"GET /free/x HTTP/1.1", host=b"any.example:8080"),
        seen=(upstream(b"GET /free/x HTTP/1.1", host=b"any.example:8080"),)),
    passes("R37", "a forged X-Forwarded-Host", b"X-Forwarded-Host: evil.example", kept=()),
]  # fmt: skip
