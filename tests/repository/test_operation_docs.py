"""docs/lnd.md and docs/operate.md: their configurations load, their commands run, their tables are the program's."""

from __future__ import annotations

import configparser
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from gateway.config import load_settings
from gateway.lightning.lnd.credentials import excess, rights
from gateway.lightning.lnd.methods import GET_INFO, SELLING
from gateway.server.answers import STATUS
from gateway.server.serving import DRAIN_TIMEOUT_S
from tests.end_to_end.process import GatewayProcess, gateway_process, write_config
from tests.repository.pages import REPOSITORY, blocks

LND, OPERATE = "docs/lnd.md", "docs/operate.md"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
NEEDED = frozenset(method.right for method in SELLING) - {GET_INFO.right}


def run(code: str, folder: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", code],
        cwd=folder,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# docs/lnd.md


def lncli() -> str | None:
    built = Path(os.environ.get("L402_REGTEST_BIN") or Path.home() / ".cache" / "l402-regtest") / "lncli"
    return str(built) if built.is_file() else shutil.which("lncli")


def test_the_documented_macaroon_has_the_rights_that_selling_needs_and_no_other() -> None:
    command = re.findall(r"^lncli bakemacaroon .*$", blocks(LND, "sh")[0].code, re.MULTILINE)[0]
    for page in (REPOSITORY / "README.md", REPOSITORY / "config.example.yaml"):
        assert command in page.read_text()
    assert set(re.findall(r"\b\w+:\w+\b", command)) == NEEDED
    assert f"`{GET_INFO.right}`" in (REPOSITORY / LND).read_text()


def test_the_documented_commands_bake_that_macaroon(tmp_path: Path) -> None:
    """With lnd's own lncli; given the root key it bakes without a node."""
    program = lncli()
    if program is None:
        pytest.skip("lncli is not there: tests/regtest/build makes it, with Go")
    (tmp_path / ".lnd").mkdir()
    (tmp_path / ".lnd" / "tls.cert").write_text("x")
    wrapper = tmp_path / "bin" / "lncli"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nshift\nexec "{program}" bakemacaroon --root_key {"ab" * 32} "$@"\n')
    wrapper.chmod(0o755)
    folder = tmp_path / "seller"
    folder.mkdir()
    env = {"HOME": str(tmp_path), "PATH": f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}"}
    done = run(blocks(LND, "sh")[0].code, folder, env)
    assert done.returncode == 0, done.stderr
    macaroon = (folder / "gateway.macaroon").read_bytes()
    assert rights(macaroon) == NEEDED
    assert excess(macaroon) == ()
    assert (folder / "gateway.macaroon").stat().st_mode & 0o777 == 0o600
    settings = load_settings(write_config(folder, blocks(LND, "yaml")[0].code), {})
    assert settings.warnings == ()


def test_the_lnd_configuration_loads(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path, blocks(LND, "yaml")[0].code), {})
    assert {warning.path for warning in settings.warnings} == {"lightning.tls_cert", "lightning.macaroon"}


def test_the_options_for_lnd_are_those_of_the_compose_file() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    for line in blocks(LND, "ini")[0].code.splitlines():
        option, _, value = line.partition("=")
        assert (value, f"--{option}" in compose["services"]["alice"]["command"]) == ("true", True)


# docs/operate.md


def test_the_installation_is_that_of_the_image() -> None:
    """Its steps are run by test_container.py."""
    image = (REPOSITORY / "Dockerfile").read_text().replace("--no-cache-dir --disable-pip-version-check ", "")
    for line in blocks(OPERATE, "sh")[0].code.splitlines():
        assert f"RUN {line.replace('python3 -m venv', 'python -m venv')}\n" in image, line


def test_the_unit_starts_what_is_installed_and_waits_for_the_drain(tmp_path: Path) -> None:
    text = blocks(OPERATE, "ini")[0].code
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert service["ExecStart"].split()[0] == "/opt/gateway/bin/gateway"
    assert service["RestartPreventExitStatus"] == "2"
    assert float(service["TimeoutStopSec"]) > DRAIN_TIMEOUT_S + 10
    settings = operate_settings()
    assert settings["storage"] == f"sqlite:////var/lib/{service['StateDirectory']}/gateway.db"
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed; the rest has passed")
    file = tmp_path / "gateway.service"
    file.write_text(
        re.sub(r"^User=.*\n", "", text, flags=re.MULTILINE).replace("/opt/gateway/bin/gateway", sys.executable)
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=60, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "gateway.service" in line]
    assert ours == [], done.stderr


def operate_settings() -> dict[str, Any]:
    settings = yaml.safe_load(blocks(OPERATE, "yaml")[0].code)
    assert isinstance(settings, dict)
    return settings


def test_the_configuration_behind_a_proxy_loads(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path, blocks(OPERATE, "yaml")[0].code), {})
    # the page makes this folder in its first step; here it does not exist
    assert [problem.path for problem in settings.warnings] in ([], ["storage"])
    assert settings.public_url == "https://api.example.com"
    assert len(settings.trusted_proxies) == 1


def operate_config(folder: Path) -> Path:
    """The page's configuration with free ports, the demo API and a folder of our own."""
    settings = operate_settings()
    settings["listen"] = settings["lightning"]["listen"] = "127.0.0.1:0"
    settings["services"][0]["upstream"] = "demo"
    text = yaml.safe_dump(settings).replace("/var/lib/gateway/", f"{folder}/")
    return write_config(folder, text)


def buy(gateway: GatewayProcess) -> str:
    offer = gateway.request("/weather/today").json
    return f"L402 {offer['macaroon']}:{gateway.pay(offer['invoice'])}"


def test_a_backup_of_a_running_gateway_brings_its_tokens_back(tmp_path: Path) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("the sqlite3 program is not installed")
    config = operate_config(tmp_path)
    with gateway_process(config) as gateway:
        before = buy(gateway)
        done = run(blocks(OPERATE, "sh")[1].code, tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert (tmp_path / "backup.db").stat().st_mode & 0o777 == 0o600
        after = buy(gateway)
        gateway.terminate()
    for name in ("gateway.db-wal", "gateway.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "backup.db").rename(tmp_path / "gateway.db")
    with gateway_process(config) as gateway:
        assert gateway.request("/weather/today", before).status == 200
        assert gateway.request("/weather/today", after).status == 402


def free_port() -> int:
    """nginx cannot be given port 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx(folder: Path, gateway: str, authority: trustme.CA) -> Iterator[int]:
    """nginx with the page's configuration in front of ``gateway``; the port that it listens on."""
    certificate = authority.issue_cert("api.example.com")
    certificate.cert_chain_pems[0].write_to_path(folder / "site.pem")
    certificate.private_key_pem.write_to_path(folder / "site.key")
    port = free_port()
    site = blocks(OPERATE, "nginx")[0].code
    for written, ours in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/gateway/site", f"{folder}/site"),
        ("http://127.0.0.1:8402", gateway),
    ):
        assert written in site
        site = site.replace(written, ours)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    config = folder / "nginx.conf"
    config.write_text(
        f"pid {folder}/nginx.pid; worker_processes 1;\nevents {{}}\nhttp {{ access_log off; {temporary}\n{site}}}\n"
    )
    command = [str(NGINX), "-p", str(folder), "-c", str(config), "-e", str(folder / "error.log")]
    # It returns once it listens.
    subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    try:
        yield port
    finally:
        subprocess.run([*command, "-s", "stop"], capture_output=True, timeout=30, check=True)


def https(port: int, context: ssl.SSLContext, authorization: str | None = None) -> tuple[int, Any]:
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection = http.client.HTTPConnection("api.example.com", port)
    connection.sock = context.wrap_socket(raw, server_hostname="api.example.com")
    try:
        headers = {"X-Forwarded-For": "203.0.113.9", **({"Authorization": authorization} if authorization else {})}
        connection.request("GET", "/hello", headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_behind_the_documented_nginx_a_purchase_over_tls_works(tmp_path: Path) -> None:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    authority = trustme.CA()
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with gateway_process(operate_config(tmp_path)) as gateway, nginx(tmp_path, gateway.base, authority) as port:
        status, offer = https(port, context)
        assert status == 402
        status, answer = https(port, context, f"L402 {offer['macaroon']}:{gateway.pay(offer['invoice'])}")
    assert status == 200
    told = answer["told_by_the_gateway"]
    assert (told["X-Forwarded-Proto"], told["X-Forwarded-Host"].split(":")[0]) == ("https", "api.example.com")
    assert told["X-Forwarded-For"].split(", ")[0] == "127.0.0.1"  # what nginx saw, not what the client claimed


def test_the_table_of_errors_is_the_programs() -> None:
    rows = re.findall(r"^\| (\d[\d, ]*) \| ([^|]*) \|", (REPOSITORY / OPERATE).read_text(), re.MULTILINE)
    assert rows
    for statuses, codes in rows:
        named = re.findall(r"`(\w+)`", codes)
        assert {STATUS[code] for code in named} == {int(status) for status in statuses.split(", ")}
    outages = {code for code, status in STATUS.items() if status == 503}
    assert outages <= set(re.findall(r"`(\w+)`", str(rows)))
