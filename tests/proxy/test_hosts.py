from __future__ import annotations

import pytest
from hypothesis import given, settings

from gateway.errors import RequestError
from gateway.proxy.hosts import canonical_host, canonical_host_pattern
from tests.conftest import SCALE
from tests.proxy.bulk import TEXTS_PER_EXAMPLE, texts


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("a.example", "a.example"),
        ("A.Example.:80", "a.example"),  # R36
        ("a.example.", "a.example"),
        ("localhost:8402", "localhost"),
        ("127.0.0.1:8402", "127.0.0.1"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("my_service:80", "my_service"),
        ("[::1]", "::1"),
        ("[2001:DB8:0:0::1]:443", "2001:db8::1"),
        ("[::ffff:192.0.2.1]", "::ffff:192.0.2.1"),
        ("a:65535", "a"),
        ("a:", "a"),  # RFC 3986 section 3.2.3 allows an empty port
        ("a" * 63 + ".b", "a" * 63 + ".b"),
    ],
)
def test_every_spelling_of_a_host_is_one_host(value: str, host: str) -> None:
    assert canonical_host(value) == host.replace("::ffff:192.0.2.1", canonical_host("[::ffff:c000:201]"))


@pytest.mark.parametrize(
    "value",
    [
        *["a b/c@d", "a, b", "", "u:p@a", "a#b", "a?b", "a:99999", "[::1", "\xff"],  # R34
        *["a/b", "a b", " a", "a\\b", "a%2eb", "http://a", "a:b", "a:80:80", "a:+80", "a:-1", "a:65536", "a:000080"],
        *["::1", "[::1]x", "[::1]:x", "[]", "[a]", "[fe80::1%25eth0]", "[v1.a]", ":80", ".", "..", ".a", "a..b", "a.."],
        *[
            "a" * 64,
            ".".join(["a" * 63] * 4),
            "é.example",
            "\N{KELVIN SIGN}.example",
            "a\n",
            "a\0",
            "a:8\N{SUPERSCRIPT TWO}",
        ],
        *["*.example.com", "a;b", "'a'", "a:80,b", "(a)"],
    ],
)
def test_what_is_no_host_is_refused(value: str) -> None:
    with pytest.raises(RequestError) as caught:
        canonical_host(value)
    assert caught.value.code == "bad_host"


_PIECES = [
    *map(chr, range(128)),
    *["a", "B", ".", ":", "[", "]", "0", "1", "::", "example", "é", "\N{KELVIN SIGN}"] * 10,
]


@settings(max_examples=int(10_000 / TEXTS_PER_EXAMPLE * SCALE))
@given(values=texts(_PIECES))
def test_any_text_is_a_host_or_refused_and_a_host_stays_what_it_is(values: list[str]) -> None:
    for value in values:
        try:
            host = canonical_host(value)
        except RequestError:
            continue
        assert host == host.lower()
        assert canonical_host(f"[{host}]" if ":" in host else host) == host


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("", ""),
        ("API.Example.com", "api.example.com"),
        ("*.Example.com.", "*.example.com"),
        ("::1", "::1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("192.0.2.1", "192.0.2.1"),
    ],
)
def test_a_routes_host_has_one_spelling(text: str, pattern: str) -> None:
    assert canonical_host_pattern(text) == pattern


@pytest.mark.parametrize(
    "text",
    ["*", "*.", "a.*.b", "*a.b", "api.example.com:80", "*.a:80", "http://a", "bücher.example", "*.*.a", "a b", "1:2:3"],
)
def test_a_host_that_no_request_can_have_is_refused_in_a_route(text: str) -> None:
    with pytest.raises(ValueError, match="host"):
        canonical_host_pattern(text)
