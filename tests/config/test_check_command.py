"""``gateway check``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.check import check
from tests.config.written import service

TWO = """\
lightning: {backend: simulated}
services:
- name: weather
  match: {host: api.example.com, path: /weather/**, methods: [GET, POST]}
  upstream: https://u.example/bot-canary-4f1d9c
  price: 1500 msat
  valid_for: 1h
  request_headers: {X-Api-Key: canary-4f1d9c}
  routes:
  - {match: {path: /weather/history/**}, price: 20 sat, valid_for: 90s}
  - {name: status, match: {path: /weather/status}, price: free}
- {name: all, match: {host: "*.example.com", path: /all/**}, upstream: demo, price: 1 sat, valid_for: 7d}
"""


def run(folder: Path, text: str, *options: str) -> Result:
    path = folder / "g.yaml"
    path.write_text(text)
    return CliRunner().invoke(check, [str(path), *options])


def test_the_table_is_shown_in_matching_order(tmp_path: Path) -> None:
    result = run(tmp_path, TWO)
    assert (result.exit_code, result.stderr) == (0, "")
    assert [tuple(re.split(r"  +", line)) for line in result.stdout.splitlines()] == [
        ("service", "route", "host", "methods", "path", "price", "valid for", "auth", "upstream"),
        (
            "weather",
            "weather-history-aaa50927",
            "api.example.com",
            "GET,POST",
            "/weather/history/**",
            "20 sat",
            "90s",
            "required",
            "https://u.example",
        ),
        ("weather", "status", "api.example.com", "GET,POST", "/weather/status", "free", "-", "-", "https://u.example"),
        (
            "weather",
            "default",
            "api.example.com",
            "GET,POST",
            "/weather/**",
            "1500 msat",
            "1h",
            "required",
            "https://u.example",
        ),
        ("all", "default", "*.example.com", "*", "/all/**", "1 sat", "7d", "required", "demo"),
    ]
    columns = [line.index("required") for line in result.stdout.splitlines() if "required" in line]
    assert len(set(columns)) == 1


def test_scripts_get_json(tmp_path: Path) -> None:
    answer = json.loads(run(tmp_path, TWO, "--json").stdout)
    assert answer["warnings"] == []
    assert answer["routes"][2] == {
        "service": "weather",
        "route": "default",
        "host": "api.example.com",
        "methods": ["GET", "POST"],
        "path": "/weather/**",
        "price": "1500 msat",
        "price_msat": 1_500,
        "valid_for_s": 3_600,
        "auth": "required",
        "upstream": "https://u.example",
    }


def test_problems_go_to_stderr_and_the_exit_code_is_2(tmp_path: Path) -> None:
    result = run(tmp_path, service("price: 5", "tier: x"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"{tmp_path}/g.yaml:5:10: services[0].price: a number without its unit, "
        "expected a price such as 10 sat, 1500 msat or free\n"
        f"{tmp_path}/g.yaml:6:9: services[0].tier: not such a number, expected a whole number from 0 to 255\n"
    )


def test_scripts_get_problems_as_json(tmp_path: Path) -> None:
    result = run(tmp_path, service("tier: x"), "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["problems"] == [
        {
            "file": f"{tmp_path}/g.yaml",
            "line": 6,
            "column": 9,
            "path": "services[0].tier",
            "message": "not such a number, expected a whole number from 0 to 255",
        }
    ]


def test_a_missing_file_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    result = CliRunner().invoke(check, [str(tmp_path / "none.yaml")])
    assert result.exit_code == 2
    assert result.stderr == f"{tmp_path}/none.yaml: cannot be read: no such file or directory\n"


def test_warnings_go_to_stderr_and_the_table_is_shown_all_the_same(tmp_path: Path) -> None:
    result = run(tmp_path, service("valid_for: 1s"))
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {tmp_path}/g.yaml:6:14: services[0].valid_for: less than 10 seconds")
    assert "10 sat" in result.stdout


@pytest.mark.parametrize(
    ("request_line", "wanted"),
    [
        ("GET https://api.example.com/weather/today?x=/y", ("weather", "default", 1_500)),
        ("HEAD https://API.example.com.:443/weather/history/2026", ("weather", "weather-history-aaa50927", 20_000)),
        ("POST http://api.example.com/weather/status", ("weather", "status", 0)),
        ("https://api.example.com/weather", ("weather", "default", 1_500)),
        ("DELETE https://x.example.com/all", ("all", "default", 1_000)),
    ],
)
def test_one_request_is_tried(tmp_path: Path, request_line: str, wanted: tuple[str, str, int]) -> None:
    answer = json.loads(run(tmp_path, TWO, "--json", "--try", request_line).stdout)["try"]
    assert (answer["service"], answer["route"], answer["price_msat"]) == wanted


@pytest.mark.parametrize(
    ("request_line", "status", "error"),
    [
        ("GET https://api.example.com/", 404, "not_found"),
        ("GET https://api.example.com", 404, "not_found"),
        ("GET https://api.example.com?weather", 404, "not_found"),
        ("DELETE https://api.example.com/weather/x", 405, "method_not_allowed"),
        ("TRACE https://api.example.com/weather/x", 405, "method_not_allowed"),
        ("GET https://other.example/weather/x", 421, "unknown_host"),
        ("GET https://api.example.com/weather/../all/x", 400, "bad_path"),
        ("GET https://api.example.com/weather/%2e%2e/x", 400, "bad_path"),
        ("GET https://user@api.example.com/weather/x", 400, "bad_host"),
        ("GET https://api.example.com/" + "x" * 9_000, 414, "uri_too_long"),
        ("get https://api.example.com/weather/x", 400, "bad_request"),
    ],
)
def test_a_request_that_nothing_is_sold_to_is_tried_too(
    tmp_path: Path, request_line: str, status: int, error: str
) -> None:
    answer = json.loads(run(tmp_path, TWO, "--json", "--try", request_line).stdout)["try"]
    assert (answer["status"], answer["error"]) == (status, error)


def test_people_are_told_in_words(tmp_path: Path) -> None:
    sold = run(tmp_path, TWO, "--try", "GET https://api.example.com/weather/history/1").stdout
    assert "price      20 sat\n" in sold
    assert "service    weather\n" in sold
    refused = run(tmp_path, TWO, "--try", "PUT https://api.example.com/weather/history/1").stdout
    assert refused == "405 method_not_allowed; allowed: GET, HEAD, POST\n"


@pytest.mark.parametrize(
    "text", ["/weather", "GET /weather", "GET ftp://h/", "GET", "A B http://h/", "GET http://h/ü", ""]
)
def test_what_is_no_request_is_a_usage_error(tmp_path: Path, text: str) -> None:
    result = run(tmp_path, TWO, "--try", text)
    assert result.exit_code == 2
    assert "--try wants a method and a URL" in result.stderr


def test_no_secret_is_printed_by_any_form(tmp_path: Path) -> None:
    for options in ([], ["--json"], ["--try", "GET https://api.example.com/weather/x"]):
        result = run(tmp_path, TWO, *options)
        assert result.exit_code == 0
        assert "canary" not in result.output
