from __future__ import annotations

import time
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings

from gateway.proxy.client_address import address_chain
from tests.conftest import SCALE
from tests.proxy.bulk import TEXTS_PER_EXAMPLE, texts

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def the_client(peer: str, forwarded_for: list[str], forwarded: list[str]) -> str:
    return address_chain(peer, forwarded_for, forwarded, TRUSTED)[0]


@pytest.mark.parametrize(
    ("case", "peer", "lines", "client"),
    [
        ("untrusted peer", "192.0.2.9", ["1.1.1.1"], "192.0.2.9"),
        ("untrusted peer", "192.0.2.9", ["10.0.0.1"], "192.0.2.9"),
        ("no header", "10.0.0.1", [], "10.0.0.1"),
        ("one proxy", "10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("the rightmost untrusted", "10.0.0.1", ["6.6.6.6, 192.0.2.7"], "192.0.2.7"),
        ("the rightmost untrusted", "10.0.0.1", ["6.6.6.6, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("several lines", "10.0.0.1", ["6.6.6.6", "192.0.2.7", "10.0.0.2,10.0.0.3"], "192.0.2.7"),
        ("all trusted", "10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("garbage stops", "10.0.0.1", ["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
        ("garbage stops", "10.0.0.1", ["6.6.6.6, _hidden"], "10.0.0.1"),
        ("garbage stops", "10.0.0.1", ["6.6.6.6,"], "10.0.0.1"),
        ("garbage stops", "10.0.0.1", ["6.6.6.6", ""], "10.0.0.1"),
        ("garbage stops", "10.0.0.1", ["6.6.6.6, 192.0.2.07"], "10.0.0.1"),
        ("garbage stops", "10.0.0.1", ["6.6.6.6 192.0.2.7"], "10.0.0.1"),
        ("garbage stops", "10.0.0.1", ["192.0.2.7:port"], "10.0.0.1"),
        ("garbage stops", "10.0.0.1", ["fe80::1%eth0"], "10.0.0.1"),
        ("IPv4 with port", "10.0.0.1", ["192.0.2.7:5000"], "192.0.2.7"),
        ("IPv6", "10.0.0.1", ["2001:DB8::7"], "2001:db8::7"),
        ("IPv6 with port", "10.0.0.1", ["[2001:db8::7]:5000"], "2001:db8::7"),
        ("IPv6 in brackets", "fd00::1", ["[2001:db8::7]"], "2001:db8::7"),
        ("IPv4-mapped", "::ffff:10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
        ("IPv4-mapped", "::ffff:192.0.2.9", [], "192.0.2.9"),
        ("IPv4-mapped", "10.0.0.1", ["6.6.6.6, ::ffff:a00:2"], "6.6.6.6"),
        ("white space", "10.0.0.1", [" \t192.0.2.7\t "], "192.0.2.7"),
        ("no address", "", ["192.0.2.7"], ""),
        ("no address", "/run/gateway.sock", ["192.0.2.7"], "/run/gateway.sock"),
    ],
)
def test_x_forwarded_for_is_believed_as_far_as_proxies_are(case: str, peer: str, lines: list[str], client: str) -> None:
    assert the_client(peer, lines, []) == client, case  # R66


@pytest.mark.parametrize(
    ("case", "lines", "client"),
    [
        ("one element", ["for=192.0.2.7"], "192.0.2.7"),
        ("other parameters", ["by=10.0.0.1;FOR=192.0.2.7;proto=https;host=a"], "192.0.2.7"),
        ("quoted", ['for="192.0.2.7:80"'], "192.0.2.7"),
        ("unquoted port", ["for=192.0.2.7:80"], "192.0.2.7"),
        ("IPv6", ['For="[2001:db8::7]:80"; proto=http'], "2001:db8::7"),
        ("several", ["for=6.6.6.6, for=192.0.2.7, for=10.0.0.2"], "192.0.2.7"),
        ("several lines", ["for=6.6.6.6", "for=192.0.2.7;proto=http", "for=10.0.0.2"], "192.0.2.7"),
        ("a comma in quotes", ['for=6.6.6.6;x="a, for=6.6.6.6", for=192.0.2.7'], "192.0.2.7"),
        ("unknown", ["for=6.6.6.6, for=unknown"], "10.0.0.1"),
        ("obfuscated", ["for=6.6.6.6, for=_gazonk"], "10.0.0.1"),
        ("no for", ["for=6.6.6.6, proto=http"], "10.0.0.1"),
        ("two fors", ["for=6.6.6.6;for=192.0.2.7"], "10.0.0.1"),
        ("empty element", ["for=6.6.6.6, "], "10.0.0.1"),
        ("bare word", ["for=6.6.6.6, 192.0.2.7"], "10.0.0.1"),
        ("a quote that swallows the proxy's element", ['for=6.6.6.6;x="', "for=192.0.2.7"], "192.0.2.7"),
        ("a quote that swallows the proxy's element", ['for=6.6.6.6;x=", for=192.0.2.7'], "10.0.0.1"),
        ("a quote that swallows the proxy's element", ['for=6.6.6.6;x=", for="[2001:db8::7]"'], "10.0.0.1"),
        ("a backslash before the proxy's element", ['for=6.6.6.6;x="\\, for="[2001:db8::7]"'], "10.0.0.1"),
    ],
)
def test_forwarded_is_believed_as_far_as_proxies_are(case: str, lines: list[str], client: str) -> None:
    assert the_client("10.0.0.1", [], lines) == client, case  # R67


def test_two_headers_that_disagree_are_both_disbelieved() -> None:
    assert the_client("10.0.0.1", ["192.0.2.7"], ["for=192.0.2.7"]) == "192.0.2.7"
    assert the_client("10.0.0.1", ["192.0.2.7"], ["for=6.6.6.6"]) == "10.0.0.1"
    assert the_client("10.0.0.1", ["6.6.6.6"], ["for=192.0.2.7"]) == "10.0.0.1"


def test_the_chain_names_the_proxies_in_between() -> None:
    chain = address_chain("10.0.0.1", ["6.6.6.6, 192.0.2.7, 10.0.0.3, 10.0.0.2"], [], TRUSTED)
    assert chain == ("192.0.2.7", "10.0.0.3", "10.0.0.2", "10.0.0.1")
    assert address_chain("192.0.2.9", ["6.6.6.6"], [], TRUSTED) == ("192.0.2.9",)


_PIECES = [
    *map(chr, range(256)),
    *["1.1.1.1", "10.0.0.9", "::1", "[fd00::1]:80", "::ffff:10.0.0.1", "for=", "For=", '"', ", ", ";", "=", "unknown"]
    * 20,
]


@settings(max_examples=int(8_000 / TEXTS_PER_EXAMPLE * SCALE))
@given(chosen=texts(_PIECES))
def test_what_the_client_writes_never_outweighs_what_the_proxy_saw(chosen: list[str]) -> None:
    for number, text in enumerate(chosen):
        seen, node = [("192.0.2.7", "192.0.2.7"), ("2001:db8::7", '"[2001:db8::7]:80"')][number % 2]
        assert the_client("10.0.0.1", [f"{text}, {seen}"], []) == seen
        assert the_client("10.0.0.1", [], [text, f"for={node}"]) == seen
        assert the_client("10.0.0.1", [], [f"{text}, for={node};proto=http"]) in {seen, "10.0.0.1"}
        assert the_client(seen, [text], [text]) == seen


@settings(max_examples=int(2_000 / TEXTS_PER_EXAMPLE * SCALE))
@given(chosen=texts(_PIECES))
def test_any_header_gives_an_address(chosen: list[str]) -> None:
    for text in chosen:
        for client in (
            the_client("10.0.0.1", [text], []),
            the_client("10.0.0.1", [], [text]),
            the_client("10.0.0.1", chosen, chosen),
        ):
            ip_address(client)
        assert the_client(text, [text], [text]) or text == ""


@pytest.mark.parametrize(
    "line",
    ['"' * 8190, '"\\' * 4095, "for=" * 2000, "a=b;" * 2000, "a=b " * 2000, "," * 8190, "[" * 8190, 'a="\\' * 1500],
)
def test_hostile_headers_cost_little_time(line: str) -> None:
    start = time.process_time()
    the_client("10.0.0.1", [line], [line])
    assert time.process_time() - start < 0.2
