"""Damaged files: settings or a ConfigError, nothing else, and never a secret."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import load_settings
from gateway.config.addresses import parse_host_port, parse_match_host, parse_network, parse_public_url, parse_upstream
from gateway.config.environment import substitute
from gateway.config.header_rules import parse_header_name, parse_header_value
from gateway.config.patterns import parse_method, parse_path_pattern, parse_prefix
from gateway.errors import ConfigError, Problem
from tests.config.test_many_mistakes import CANARY
from tests.conftest import SCALE

FULL = """\
listen: 127.0.0.1:8402
storage: postgresql://u:${SECRET}@h/d
trusted_proxies: [10.0.0.0/8]
lightning: {backend: simulated, network: regtest, invoice_expiry: 10m, strict: off}
services:
  - name: weather
    match: {host: "*.example.com", path: /weather/**, methods: [GET, POST]}
    upstream: https://h.example/base
    price: ${PRICE}
    valid_for: 1h
    request_headers: {X-Api-Key: "${SECRET}", X-Other: {file: ./key}}
    capabilities: &c [a, b]
    timeouts: {connect: 1s}
    routes:
      - {match: {path: /weather/*/x, methods: [GET]}, price: 1 sat, capability: a, auth: optional}
      - {name: status, match: {path: /weather/status}, price: free}
  - {name: other, match: {path: /other}, upstream: demo, auth: off, tier: 3, capabilities: *c}
"""
ENV = {"SECRET": CANARY, "PRICE": "3 sat"}
PIECES = (
    *(
        "",
        " ",
        "\n",
        "\t",
        ":",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "#",
        "&a ",
        "*a",
        "*c",
        "!",
        "!!int ",
        "|",
        ">",
        "'",
        '"',
        "%",
    ),
    *(
        "${SECRET}",
        "${",
        "$${",
        "${NOPE}",
        "null",
        "~",
        "off",
        "true",
        "0",
        "-1",
        "1e9",
        "é",
        "\x00",
        "\ufeff",
        "\u2028",
    ),
    *(
        "<<: ",
        "? ",
        "---",
        "...",
        "/**",
        "/*",
        "..",
        "//",
        "10 sat",
        "free",
        "default",
        "lnd",
        "mainnet",
        "services:",
        "\r",
    ),
    *(
        '"\\ud800"',
        '"\\UFFFFFFFF"',
        "\ud83d",
        "9" * 40,
        "a" * 300,
        "http://",
        "[::1]:1",
        "127.0.0.1:8402",
        "0x",
        "\x1b[31m",
    ),
)


def damaged(rng: random.Random) -> str:
    """The file with up to six cuts, copies, swaps and insertions, whole lines or within a line."""
    text = FULL
    for _ in range(rng.randint(1, 6)):
        at, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        end = min(end, at + rng.choice((1, 5, 30, 200)))
        lines = text.split("\n")
        first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                text = text[:at] + rng.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[end:]
            case 2:
                text = text[:at] + rng.choice(PIECES) + text[end:]
            case 3:
                lines[first], lines[second] = lines[second], lines[first]
                text = "\n".join(lines)
            case _:
                key, colon, _ = lines[first].partition(":")
                lines[first] = f"{key}{colon} {rng.choice(PIECES)}{lines[second].partition(':')[2]}"
                text = "\n".join(lines)
    return text


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_file_gives_settings_or_a_config_error(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "g.yaml"
    (tmp_path / "key").write_text(CANARY)
    outcomes = {True: 0, False: 0}
    for _ in range(max(20, round(500 * SCALE))):
        path.write_bytes(damaged(rng).encode("utf-8", "surrogatepass"))
        problems = problems_of(path)
        outcomes[problems is None] += 1
        if problems is None:
            continue
        assert problems
        assert not any(CANARY in str(problem) for problem in problems)
        places = [(problem.line, problem.column) for problem in problems]
        assert places == sorted(places)
    assert min(outcomes.values()) > 0 or SCALE < 1


def problems_of(path: Path) -> tuple[Problem, ...] | None:
    try:
        load_settings(path, ENV)
    except ConfigError as error:
        return error.problems
    return None


@settings(max_examples=max(50, round(300 * SCALE)))
@given(st.binary(max_size=200))
def test_any_bytes_give_settings_or_a_config_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError):
        load_settings(path, {})


@settings(max_examples=max(100, round(1_000 * SCALE)))
@given(st.text(max_size=60) | st.text("abc./:[]*%${}@?# \n019-", max_size=30))
def test_every_reader_of_text_gives_a_value_or_a_refusal_without_the_text(text: str) -> None:
    readers = (
        *(parse_host_port, parse_match_host, parse_network, parse_public_url, parse_upstream, parse_header_name),
        *(parse_header_value, parse_path_pattern, parse_prefix, parse_method, lambda value: substitute(value, {})),
    )
    for read in readers:
        try:
            read(text)
        except ValueError as error:
            message = str(error)
        else:
            continue
        assert len(text) < 16 or text not in message
