"""The small commands on a running gateway, what they say when something is wrong, and what the log looks like."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.process import CONFIG, GatewayProcess, fetch, gateway_process, write_config


def run(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    outcome = subprocess.run(
        [sys.executable, "-m", "gateway", *words],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in outcome.stderr
    return outcome


def buy(gateway: GatewayProcess) -> tuple[str, str]:
    """(macaroon, preimage)"""
    offer = gateway.request("/weather/today").json
    return offer["macaroon"], gateway.pay(offer["invoice"])


def test_a_token_is_shown_without_its_preimage_and_revoked_while_the_gateway_runs(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with gateway_process(config) as gateway:
        macaroon, preimage = buy(gateway)
        credential = f"L402 {macaroon}:{preimage}"
        shown = run(tmp_path, "token", "inspect", "-", stdin=f"Authorization: {credential}\n")
        assert shown.returncode == 0
        assert re.search(r"^caveat +services=weather:0$", shown.stdout, re.MULTILINE)
        assert re.search(r"weather_valid_until=\d+ \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)$", shown.stdout, re.MULTILINE)
        assert preimage not in shown.stdout
        as_json = json.loads(run(tmp_path, "token", "inspect", "--json", macaroon).stdout)
        assert "services=weather:0" in as_json["caveat"]
        assert run(tmp_path, "token", "revoke", str(config), credential).returncode == 0
        while gateway.request("/weather/today", credential).status == 200:
            pass  # at most a second; the test's own timeout bounds it
        assert gateway.request("/weather/today", credential).status == 402
        again = run(tmp_path, "token", "revoke", str(config), macaroon)
    assert (again.returncode, "revoked before" in again.stderr) == (4, True)


@pytest.mark.parametrize("text", ["", "x", "L402 AAAA:00", "0201"])
def test_what_is_no_token_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    assert run(tmp_path, "token", "inspect", text).returncode == 1
    assert run(tmp_path, "token", "revoke", str(write_config(tmp_path)), text).returncode == 1
    assert run(tmp_path, "token", "revoke", "none.yaml", text).returncode == 2


def test_a_database_that_is_not_there_yet_is_said_to_be_missing(tmp_path: Path) -> None:
    missing = run(tmp_path, "db", "status", str(write_config(tmp_path)))
    assert (missing.returncode, f"there is no file {tmp_path / 'gateway.db'} yet" in missing.stderr) == (3, True)
    config = write_config(tmp_path, f"storage: sqlite:///./none/gateway.db\n{CONFIG}")
    folder = run(tmp_path, "db", "status", str(config))
    assert (folder.returncode, f"there is no folder {tmp_path / 'none'}" in folder.stderr) == (3, True)


@pytest.mark.parametrize("listen", ["9000", "127.0.0.1:65536", "127.0.0.1:http", ":9000"])
def test_a_wrong_address_for_the_sample_api_is_a_usage_error(tmp_path: Path, listen: str) -> None:
    outcome = run(tmp_path, "demo-upstream", "--listen", listen)
    assert (outcome.returncode, "HOST:PORT" in outcome.stderr) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_sample_api_stops_when_told(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "gateway", "demo-upstream", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("demo upstream on http://127.0.0.1:")
        process.send_signal(number)
        assert process.wait(20) == 0


def test_an_address_that_is_not_ours_is_named(tmp_path: Path) -> None:
    # 192.0.2.0/24 is nobody's (RFC 5737)
    config = write_config(tmp_path, CONFIG.replace("listen: 127.0.0.1:0\n", "listen: 192.0.2.1:8402\n", 1))
    outcome = run(tmp_path, "serve", str(config))
    assert outcome.returncode == 3
    assert outcome.stderr.splitlines()[-1].startswith("gateway: cannot start: cannot listen on 192.0.2.1:8402: ")


def test_the_start_says_where_tokens_are_kept_and_what_is_sold(tmp_path: Path) -> None:
    with gateway_process(write_config(tmp_path)) as gateway:
        gateway.wait_for_line("tokens are kept in ")
        gateway.wait_for_line("  curl -i ")
    assert f"tokens are kept in sqlite {tmp_path / 'gateway.db'}" in gateway.lines
    assert [line.split() for line in gateway.lines if "sat" in line] == [
        ["weather", "/weather/**", "10", "sat"],
        ["echo", "/echo", "3", "sat"],
    ]


def test_the_log_is_json_that_begins_with_what_happened_where_no_terminal_watches(tmp_path: Path) -> None:
    with gateway_process(write_config(tmp_path)) as gateway:
        macaroon, preimage = buy(gateway)
        gateway.request("/weather/today?key=canary", f"L402 {macaroon}:{preimage}")
        gateway.terminate()
    text = gateway.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {tuple(line)[:3] for line in lines} == {("timestamp", "level", "event")}
    assert [line["outcome"] for line in lines if line["event"] == "request"] == ["challenge:payment_required", "paid"]
    assert not [secret for secret in (macaroon, preimage, "canary") if secret in text]


@contextmanager
def terminal() -> Iterator[tuple[int, list[bytes]]]:
    """The end of a terminal to write to, and what was written there once the block is left."""
    ours, theirs = pty.openpty()
    written: list[bytes] = []

    def collect() -> None:
        try:
            while chunk := os.read(ours, 65_536):
                written.append(chunk)
        except OSError:  # Linux tells the end of a terminal so
            pass

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()
    try:
        yield theirs, written
    finally:
        os.close(theirs)
        reader.join(10)
        os.close(ours)


def test_the_log_is_for_people_on_a_terminal(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with terminal() as (theirs, written), gateway_process(config, errors=theirs) as gateway:
        macaroon, preimage = buy(gateway)
        gateway.request("/weather/today", f"L402 {macaroon}:{preimage}")
        gateway.request("/none")
        assert gateway.terminate() == 0
    lines = b"".join(written).decode().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d  \S", line) for line in lines), lines
    requests = [line[10:] for line in lines if " GET " in line]
    assert len(requests) == 3
    assert requests[0].startswith("402  GET 127.0.0.1/weather/today  weather/default  challenge:payment_required  ")
    assert requests[1].startswith("200  GET 127.0.0.1/weather/today  weather/default  paid  ")
    assert requests[2].startswith("404  GET 127.0.0.1/none  not_found  ")
    assert any(line[10:].startswith("settled  ") for line in lines)
    assert "\x1b" not in "".join(lines)


def test_whoever_read_its_output_and_log_may_go_away_without_stopping_the_sale(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    reading, writing = os.pipe()
    with gateway_process(config, errors=writing) as gateway:
        os.close(writing)
        macaroon, preimage = buy(gateway)
        os.close(reading)
        for path, credential, status in (("/weather/a", f"L402 {macaroon}:{preimage}", 200), ("/echo", None, 402)) * 2:
            assert gateway.request(path, credential).status == status
        gateway.pay(gateway.request("/weather/b").json["invoice"])
        assert gateway.terminate() == 0


def test_a_closed_standard_output_does_not_stop_the_gateway(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "serve", str(write_config(tmp_path))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        base = process.stdout.readline().split()[2]
        process.stdout.close()
        assert fetch(f"{base}/weather/today", method="GET", headers={}).status == 402
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, "Error" in errors) == (0, False)


LIBRARY_FAILS = """
import logging, sys
from gateway.server.logs import configure_logging
log = configure_logging(people=sys.argv[1] == "people")
try:
    raise RuntimeError("Authorization: L402 c2VjcmV0:" + "ab" * 32)
except RuntimeError:
    logging.getLogger("some.library").exception("it failed")
log.warning("odd", detail="a\\x1b[31m\\nb")
"""


@pytest.mark.parametrize("reader", ["people", "machines"])
def test_a_librarys_failure_is_logged_like_everything_else_and_without_secrets(tmp_path: Path, reader: str) -> None:
    command = [sys.executable, "-c", LIBRARY_FAILS, reader]
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert "abababab" not in outcome.stderr
    assert "RuntimeError" in outcome.stderr
    assert "\x1b" not in outcome.stderr
    if reader == "machines":
        first, second = (json.loads(line) for line in outcome.stderr.splitlines())
        assert (first["level"], first["event"], first["logger"]) == ("error", "library", "some.library")
        assert second["detail"] == "a\x1b[31m\nb"
    else:
        assert outcome.stderr.splitlines()[-1].endswith(r"  warning: odd  detail=a\x1b[31m\nb")
