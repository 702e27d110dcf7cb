"""What README.md and the pages say is true: commands exist and run, configurations load, links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gateway.cli import main
from gateway.config import load_settings
from gateway.lightning.settings import LndSettings
from tests.end_to_end.process import gateway_process, write_config
from tests.repository.pages import REPOSITORY, anchors, blocks, pages, prose, repository_files

README = REPOSITORY / "README.md"
RUN_BY = {
    "README.md": ("test_docs.py", {"sh", "yaml", ""}),
    "docs/configure.md": ("../config/test_docs.py", {"yaml", ""}),
    "docs/buy.md": ("../clients/test_buy_docs.py", {"sh", "python", "python l402", "python l402-requests"}),
    "docs/lnd.md": ("test_operation_docs.py", {"sh", "yaml", "ini"}),
    "docs/operate.md": ("test_operation_docs.py", {"sh", "yaml", "ini", "nginx"}),
}
"""Which test runs or loads the fenced blocks of a page, and the languages that it knows what to do with."""


def test_every_fenced_block_is_on_a_page_whose_blocks_are_run() -> None:
    for path in pages():
        page = str(path.relative_to(REPOSITORY))
        languages = {block.language for block in blocks(page)}
        if languages:
            module, known = RUN_BY[page]
            assert languages <= known, page
            assert (Path(__file__).parent / module).is_file()


# README.md


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    wanted = re.findall(r"^(make \w+)", blocks("README.md", "sh")[0].code, re.MULTILINE)
    assert wanted == ["make run", "make test"]
    for command in [*wanted, *re.findall(r"`(make [\w-]+)`", "".join(map(prose, pages())))]:
        subprocess.run([*command.split(), "--dry-run"], cwd=REPOSITORY, capture_output=True, check=True)


def test_the_purchase_of_the_readme_prints_the_weather(tmp_path: Path) -> None:
    if not (Path(sys.prefix) / "bin" / "activate").is_file():
        pytest.skip("the tests do not run in a virtual environment")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    example = (REPOSITORY / "config.example.yaml").read_text()
    config = write_config(tmp_path, re.sub(r"127\.0\.0\.1:840[23]", "127.0.0.1:0", example))
    with gateway_process(config) as gateway:
        code = blocks("README.md", "sh")[1].code.replace("http://127.0.0.1:8402", gateway.base)
        env = {**os.environ, "L402_SIM_NODE": gateway.node, "XDG_DATA_HOME": str(tmp_path / "data")}
        done = subprocess.run(
            ["sh", "-euc", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    assert '"sky": "clear"' in done.stdout


def five_lines(text: str) -> dict[str, str]:
    """The keys under ``lightning`` in a piece of YAML, commented or not."""
    found = re.findall(r"^#? +(backend|network|address|tls_cert|macaroon): (\S+)", text, re.MULTILINE)
    return {key: value for key, value in found if value != "simulated"}


def test_the_five_lines_for_lnd_load_and_are_the_same_on_every_page(tmp_path: Path) -> None:
    block = blocks("README.md", "yaml")[0].code
    for name in ("tls.cert", "gateway.macaroon"):
        (tmp_path / name).write_bytes(b"x")
    services = "services:\n  - {name: weather, upstream: demo, price: 10 sat}\n"
    settings = load_settings(write_config(tmp_path, block + services), {})
    assert settings.warnings == ()
    assert isinstance(settings.lightning, LndSettings)
    lines = five_lines(block)
    assert len(lines) == 5
    for page in ("docs/lnd.md", "docs/configure.md"):
        assert lines in [five_lines(block.code) for block in blocks(page, "yaml")], page
    example = (REPOSITORY / "config.example.yaml").read_text()
    assert lines == five_lines(example[example.index("To be paid for real") : example.index("# address:")])


def test_the_readme_keeps_its_promise_to_be_short() -> None:
    introduction = README.read_text().split("\n\n")[1]
    assert len(re.findall(r"[.!?](?:\s|$)", introduction)) == 3
    assert len(README.read_text().splitlines()) < 110
    assert {"## Two commands", "## Be paid for real", "## How a sale goes", "## What it does not do yet"} <= set(
        re.findall(r"^## .*$", README.read_text(), re.MULTILINE)
    )


# Commands


def commands(group: click.Group, *before: str) -> Iterator[tuple[str, click.Command]]:
    """``token revoke`` and its like, with the command that each of them runs."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)
        else:
            yield " ".join((*before, name)), command


COMMANDS = dict(commands(main))
CALL = re.compile(r"\bgateway ((?:(?:sim|token|db) )?[a-z][a-z-]*)([^`|\n]*)")


def test_the_table_of_commands_is_the_real_one() -> None:
    rows = re.findall(r"^\| (`gateway [^|]*) \|", README.read_text(), re.MULTILINE)
    calls = [CALL.match(code) for row in rows for code in re.findall(r"`([^`]*)`", row)]
    assert {call[1] for call in calls if call} == set(COMMANDS)
    for call in filter(None, calls):
        parameters = COMMANDS[call[1]].params
        wanted = {str(name) for parameter in parameters for name in (parameter.human_readable_name,)}
        assert set(re.findall(r"\b[A-Z]{3,}\b", call[2].replace("GET", ""))) <= wanted, call[0]


def test_every_command_that_a_page_names_exists_with_its_options() -> None:
    for path in [*pages(), REPOSITORY / "config.example.yaml"]:
        text = path.read_text()
        code = [
            *re.findall(r"`(gateway [^`\n]+)`", text),
            *re.findall(r"^ *(?:\S+/)?(gateway [^\n#]+)", text, re.MULTILINE),
        ]
        for line in code:
            call = CALL.match(line)
            if call is None or call[1] in {"token", "db", "sim"}:
                continue
            assert call[1] in COMMANDS or path.suffix == ".yaml", (path.name, line)
            options = {option for each in COMMANDS[call[1]].params for option in each.opts}
            assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", call[2])) <= options, (path.name, line)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_its_exit_codes(name: str) -> None:
    command = COMMANDS[name]
    assert command.help is not None
    assert "Exit codes:" in command.help
    assert re.search(r"\b0\b.*\b2\b", command.help.partition("Exit codes:")[2], re.DOTALL)
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    assert not command.get_short_help_str(60).endswith("...")


# Containers


def test_the_three_lines_for_containers_work_without_them(tmp_path: Path) -> None:
    """As they stand but for the address, and with this gateway in place of the container's."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    lines = re.findall(r"^    (.+)$", (REPOSITORY / "deploy/compose/README.md").read_text(), re.MULTILINE)
    assert len(lines) == 3
    text = (REPOSITORY / "deploy/compose/gateway.yaml").read_text()
    text = text.replace("0.0.0.0:8402", "127.0.0.1:0").replace("http://sample-api:9000", "demo")
    text = text.replace("/data/", f"{tmp_path}/").replace("simulated\n", "simulated\n  listen: 127.0.0.1:0\n")
    with gateway_process(write_config(tmp_path, text)) as gateway:
        ours = f"{sys.executable} -m gateway sim pay --node {gateway.node}"
        script = "\n".join(lines).replace("docker compose exec -T gateway gateway sim pay", ours)
        script = script.replace("http://127.0.0.1:8402", gateway.base)
        done = subprocess.run(
            ["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
    assert re.findall(r"^HTTP/1.1 (\d+)", done.stdout, re.MULTILINE) == ["402", "200"], done.stderr


# The whole repository


def test_every_relative_link_leads_to_a_file_and_a_heading() -> None:
    for page in pages():
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            linked = (page.parent / name).resolve() if name else page
            assert linked.exists(), (page.name, target)
            assert linked.is_dir() or not anchor or anchor in anchors(linked), (page.name, target)


FORBIDDEN = re.compile(
    # Put together so that this file passes its own test.
    "|".join(
        (
            *(f"/{folder}/" for folder in ("work", "tmp", "root", "opt/wheels")),
            *(rf"\b{host}\." + "org" for host in ("pypi", "pythonhosted", "npmjs", "proxy\\.golang")),
            *("index" + "-url =", "the iss" + r"ue\b", "shared" + "/reference", "sub" + "agent", "accept" + "ance"),
        )
    ),
    re.IGNORECASE,
)
ALLOWED = {("docker-compose.yml", "/root" + "/")}  # the home of the user that lnd's image runs as


def test_no_file_names_a_machine_a_registry_or_how_the_work_is_organised() -> None:
    found = set()
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", "replace")
        found |= {(str(path.relative_to(REPOSITORY)), word) for word in FORBIDDEN.findall(text)}
    assert found - ALLOWED == set()


@pytest.mark.parametrize("folder", ["work", "tmp", "root"])
def test_a_path_of_a_machine_would_be_found(folder: str) -> None:
    assert FORBIDDEN.search(f"see /{folder}/main/x")
    assert not FORBIDDEN.search(f"see /a{folder}x/main, the issuer")
