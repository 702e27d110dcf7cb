"""No Docker engine is needed to hold the Dockerfile to its word: its steps are run in an empty folder, as written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gateway.config import load_settings
from tests.end_to_end.process import CONFIG, fetch, write_config

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
INSTRUCTIONS = {
    "FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL",
    "ENTRYPOINT", "CMD",
}  # fmt: skip


def stages() -> list[list[tuple[str, str]]]:
    """Each stage as (instruction, rest) pairs."""
    found: list[list[tuple[str, str]]] = []
    for line in DOCKERFILE.splitlines():
        if not line or line.startswith("#"):
            continue
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            found.append([])
        found[-1].append((instruction, rest))
    return found


def test_every_line_is_an_instruction_that_docker_knows() -> None:
    assert {instruction for stage in stages() for instruction, _ in stage} <= INSTRUCTIONS


def test_the_image_runs_as_nobody_in_particular_and_says_how_to_ask_it() -> None:
    final = dict(stages()[-1])
    assert final["USER"] == "10001"
    assert final["VOLUME"] == "/data"
    assert "healthcheck" in final["HEALTHCHECK"]
    assert final["ENTRYPOINT"] == '["gateway"]'


def test_copied_files_exist_and_are_not_ignored() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    for instruction, rest in stages()[0]:
        if instruction == "COPY":
            for source in rest.split()[:-1]:
                assert (REPOSITORY / source).exists(), source
                assert f"!{source}" in ignored, source


@pytest.mark.timeout(600)
def test_the_build_steps_run_in_an_empty_environment_and_the_result_sells(tmp_path: Path) -> None:
    """The first stage's COPY and RUN lines, with the image's absolute paths moved under a folder of our own."""
    image = tmp_path / "image"
    source, target = image / "src", image / "opt" / "gateway"
    source.mkdir(parents=True)
    target.parent.mkdir()
    env = {"PATH": f"{image}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    network = ("PIP_", "SSL_", "HTTP_", "HTTPS_", "NO_")
    env |= {key: value for key, value in os.environ.items() if key.upper().startswith(network)}
    (image / "bin").mkdir()
    (image / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    for instruction, rest in stages()[0]:
        if instruction == "COPY":
            *sources, destination = rest.split()
            for name in sources:
                copy(REPOSITORY / name, source / destination if destination != "./" else source / name)
        if instruction == "RUN":
            command = rest.replace("/opt/gateway", str(target))
            outcome = subprocess.run(
                command, shell=True, cwd=source, env=env, capture_output=True, text=True, check=False
            )
            assert outcome.returncode == 0, outcome.stderr
    shutil.rmtree(source)  # the second stage has no sources
    program = target / "bin" / "gateway"
    sell_from(program, tmp_path, env)


def sell_from(program: Path, folder: Path, env: dict[str, str]) -> None:
    config = write_config(folder, CONFIG)
    process = subprocess.Popen(
        [str(program), "serve", str(config)], stdout=subprocess.PIPE, text=True, cwd=folder, env=env
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        base = first.split()[2]
        assert fetch(f"{base}/weather/today", method="GET", headers={}).status == 402, first
        config.write_text(config.read_text().replace("listen: 127.0.0.1:0\n", f"listen: {base[7:]}\n", 1))
        assert (
            subprocess.run([str(program), "healthcheck", str(config)], env=env, timeout=30, check=False).returncode == 0
        )
        process.terminate()
        assert process.wait(20) == 0
        assert (
            subprocess.run([str(program), "healthcheck", str(config)], env=env, timeout=30, check=False).returncode == 1
        )
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def run(
    command: str | list[str], *, cwd: Path, env: dict[str, str], shell: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, shell=shell, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def copy(source: Path, destination: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, destination, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, destination)


def test_compose_names_only_files_services_and_volumes_that_exist() -> None:
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    services, volumes = compose["services"], compose["volumes"]
    for name, service in services.items():
        assert set(service.get("depends_on", [])) <= set(services), name
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert source in volumes or (REPOSITORY / source).is_file(), (name, mount)
    by_default = {name for name, service in services.items() if not service.get("profiles")}
    assert by_default == {"gateway", "sample-api"}


@pytest.mark.parametrize("name", ["gateway.yaml", "gateway-regtest.yaml"])
def test_the_compose_configurations_are_valid(name: str) -> None:
    settings = load_settings(REPOSITORY / "deploy" / "compose" / name, {})
    assert settings.listen == ("0.0.0.0", 8402)
    assert settings.storage_url == "sqlite:////data/gateway.db"


def test_lock_files_hold_versions_and_hashes_and_no_address() -> None:
    for lock in (*REPOSITORY.glob("requirements/*.lock"), *REPOSITORY.glob("tests/clients/*.lock")):
        text = lock.read_text()
        assert "://" not in text, lock
        pins = re.findall(r"^[a-z0-9][a-z0-9._-]*==", text, re.MULTILINE)
        assert pins, lock
        blocks = re.split(r"\n(?=[a-z0-9])", text.strip())
        assert all("--hash=sha256:" in block for block in blocks if "==" in block), lock
