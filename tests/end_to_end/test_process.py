"""The program as a stranger meets it: the printed lines, kill -9, SIGTERM, a wrong file."""

from __future__ import annotations

import concurrent.futures
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.process import CONFIG, GatewayProcess, gateway_process, write_config

REPOSITORY = Path(__file__).parents[2]
PATH_WITH_GATEWAY = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def offer(gateway: GatewayProcess, path: str = "/weather/today") -> tuple[str, str]:
    """(macaroon, invoice) of a fresh 402."""
    answer = gateway.request(path)
    assert answer.status == 402, answer
    return answer.json["macaroon"], answer.json["invoice"]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": PATH_WITH_GATEWAY}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_three_printed_lines_work_on_the_example_configuration(tmp_path: Path) -> None:
    example = (REPOSITORY / "config.example.yaml").read_text()
    config = write_config(tmp_path, re.sub(r"127\.0\.0\.1:840[23]", "127.0.0.1:0", example))
    with gateway_process(config) as gateway:
        gateway.wait_for_line("  curl -i ")
        lines = gateway.lines[gateway.lines.index("try it:") + 1 :]
        outcomes = [run("bash", "-c", line, cwd=tmp_path) for line in lines]
    assert len(lines) == 3
    assert outcomes[0].stdout.startswith("HTTP/1.1 402 "), outcomes
    assert outcomes[1].returncode == 0, outcomes[1]
    assert outcomes[2].stdout.startswith("HTTP/1.1 200 "), outcomes


def test_killed_between_402_and_payment_the_token_works_after_the_restart(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with gateway_process(config) as gateway:
        macaroon, invoice = offer(gateway)
        gateway.kill()
    with gateway_process(config) as gateway:
        answer = gateway.request("/weather/today", f"L402 {macaroon}:{gateway.pay(invoice)}")
    assert answer.status == 200, answer


def test_killed_between_payment_and_use_the_token_works_after_the_restart(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with gateway_process(config) as gateway:
        macaroon, invoice = offer(gateway)
        preimage = gateway.pay(invoice)
        gateway.kill()
    with gateway_process(config) as gateway:
        assert gateway.request("/weather/today", f"L402 {macaroon}:{preimage}").status == 200


def test_no_challenge_that_was_seen_is_lost_when_killed_at_the_moment_it_arrives(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    seen: list[tuple[str, str]] = []
    for _ in range(4):
        with gateway_process(config) as gateway:
            base = gateway.base
            assert base
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                asked = [pool.submit(offer, gateway, path) for path in ("/weather/a", "/echo") * 4]
                first = next(concurrent.futures.as_completed(asked))
                gateway.kill()
                seen.append(first.result())
                seen.extend(one.result() for one in asked if one is not first and one.exception() is None)
    with gateway_process(config) as gateway:
        for macaroon, invoice in seen:
            credential = f"L402 {macaroon}:{gateway.pay(invoice)}"
            statuses = {gateway.request(path, credential).status for path in ("/weather/a", "/echo")}
            assert statuses == {200, 402}
    assert len(seen) >= 4


def test_sigterm_finishes_what_is_in_flight_and_exits_0(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with gateway_process(config) as gateway:
        macaroon, invoice = offer(gateway, "/echo")
        credential = f"L402 {macaroon}:{gateway.pay(invoice)}"
        host, port = gateway.base.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as client:
            head = f"POST /echo HTTP/1.1\r\nHost: x\r\nAuthorization: {credential}\r\nContent-Length: 10\r\n\r\n"
            client.sendall(head.encode() + b"01234")
            received = b""
            while b"01234" not in received:  # the first half is on its way through
                received += client.recv(65_536)
            gateway.process.terminate()
            gateway.wait_for_line("stopping")
            client.sendall(b"56789")
            while chunk := client.recv(65_536):
                received += chunk
        assert b"HTTP/1.1 200" in received
        assert b"56789" in received
        assert gateway.process.wait(20) == 0


def test_a_wrong_file_is_refused_with_every_mistake_and_exit_code_2(tmp_path: Path) -> None:
    text = CONFIG.replace("10 sat", "ten").replace("listen: 127.0.0.1:0\n", "lisssten: 1\n", 1)
    config = write_config(tmp_path, text)
    outcome = run(sys.executable, "-m", "gateway", "serve", str(config), cwd=tmp_path)
    assert outcome.returncode == 2
    assert re.search(r"gateway\.yaml:2:1: .*lisssten", outcome.stderr), outcome.stderr
    assert re.search(r"gateway\.yaml:5:\d+: .*price", outcome.stderr), outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_taken_port_is_said_plainly_with_exit_code_3(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = write_config(tmp_path, CONFIG.replace("listen: 127.0.0.1:0\n", f"listen: 127.0.0.1:{port}\n", 1))
        outcome = run(sys.executable, "-m", "gateway", "serve", str(config), cwd=tmp_path)
    assert outcome.returncode == 3
    assert "Traceback" not in outcome.stderr
    assert str(port) in outcome.stderr


def test_the_database_and_the_node_file_are_private(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with gateway_process(config) as gateway:
        offer(gateway)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if ".db" in path.name}
    assert modes
    assert set(modes.values()) == {0o600}, modes


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_the_command_starts_fast_and_explains_itself(flag: str, tmp_path: Path) -> None:
    outcome = run(sys.executable, "-m", "gateway", flag, cwd=tmp_path)
    assert outcome.returncode == 0
    assert "gateway" in outcome.stdout
