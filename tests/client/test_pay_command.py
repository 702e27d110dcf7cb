from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from gateway.cli.pay import pay
from gateway.lightning.simulated import Faults
from tests.client.seller import SAT, Seller

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(seller: Seller, tmp_path: Path) -> Run:
    async def run(*arguments: str, stdin: bytes = b"", price: str | None = "100 sat") -> Result:
        given = [
            *(("--max-price", price) if price else ()),
            *("--sim-node", seller.node.endpoint),
            *("--tokens", str(tmp_path / "own" / "tokens.json")),
            *(argument.replace("BASE", seller.base) for argument in arguments),
        ]
        return await asyncio.to_thread(CliRunner().invoke, pay, given, input=stdin)

    return run


async def test_the_body_goes_to_stdout_and_everything_else_to_stderr(run: Run) -> None:
    first, second = await run("BASE/weather/now"), await run("BASE/weather/tomorrow")
    assert (first.exit_code, first.stdout_bytes) == (0, b"paid /weather/now:")
    assert "price: 10 sat (weather/default); paying with the sim wallet" in first.stderr
    assert "200, paid: 10 sat, fee 0 sat" in first.stderr
    assert first.stderr.index("price:") < first.stderr.index("200, paid")
    assert (second.exit_code, second.stdout_bytes) == (0, b"paid /weather/tomorrow:")
    assert second.stderr == "200, stored token: nothing paid\n"


async def test_quiet_says_nothing(run: Run) -> None:
    assert (await run("-q", "BASE/weather/now")).stderr == ""


async def test_a_dry_run_shows_the_price_and_pays_nothing(run: Run, seller: Seller) -> None:
    result = await run("--dry-run", "BASE/weather/now", price=None)
    assert (result.exit_code, result.stdout) == (
        0,
        "price: 10 sat\ninvoice: regtest, for weather/default\nwould pay: no stored token fits\n",
    )
    assert (await run("--dry-run", "BASE/weather/now", price="9 sat")).exit_code == 3
    assert "free" in (await run("--dry-run", "BASE/free")).stdout
    assert await seller.payments() == 0
    await run("BASE/weather/now")
    assert "would use a stored token" in (await run("--dry-run", "BASE/weather/now")).stdout


@pytest.mark.parametrize("given", ["text", "file", "stdin"])
async def test_a_body_is_posted_from_each_source(run: Run, seller: Seller, tmp_path: Path, given: str) -> None:
    body = b"a=1\r\n" * 100_000 if given != "text" else b"a=1"
    file = tmp_path / "body"
    file.write_bytes(body)
    data = {"text": body.decode() if given == "text" else "", "file": f"@{file}", "stdin": "@-"}[given]
    result = await run("-d", data, "BASE/maps/now", stdin=body)
    assert (result.exit_code, result.stdout_bytes) == (0, b"paid /maps/now:" + body)
    assert [seen.method for seen in seller.seen] == ["POST", "POST"]
    assert seller.seen[-1].headers["Content-Type"] == "application/x-www-form-urlencoded"


async def test_method_headers_and_the_head_of_the_answer(run: Run, seller: Seller) -> None:
    result = await run("-X", "put", "-H", "X-A: b:c", "-H", "content-type: text/plain", "-d", "x", "-i", "BASE/free")
    assert result.stdout_bytes.startswith(b"HTTP/1.1 200 OK\r\n")
    assert result.stdout_bytes.endswith(b"\r\n\r\nfree:x")
    seen = seller.seen[-1]
    assert (seen.method, seen.headers["X-A"], seen.headers["Content-Type"]) == ("PUT", "b:c", "text/plain")


async def test_the_body_goes_to_a_file_on_demand(run: Run, tmp_path: Path) -> None:
    result = await run("-o", str(tmp_path / "out"), "BASE/weather/now")
    assert (result.stdout_bytes, (tmp_path / "out").read_bytes()) == (b"", b"paid /weather/now:")
    assert (await run("-o", str(tmp_path / "none" / "out"), "BASE/maps/now")).exit_code == 2


async def test_new_buys_again_and_no_store_keeps_nothing(run: Run, seller: Seller, tmp_path: Path) -> None:
    await run("--no-store", "BASE/weather/now")
    assert not (tmp_path / "own").exists()
    await run("BASE/weather/now")
    await run("--new", "BASE/weather/now")
    assert await seller.payments() == 3


USAGE = [
    ["BASE/free", "--max-price", "10"],
    ["BASE/free", "--max-fee", "1.5 sat"],
    ["BASE/free", "-H", "nothing"],
    ["BASE/free", "-H", "X: a\nY: b"],
    ["BASE/free", "-d", "@/nowhere/at/all"],
    ["ftp://x/"],
    ["BASE/free", "--wallet", "lnd"],
    ["BASE/free", "--sim-node", "127.0.0.1:1"],
    ["BASE/free", "--network", "moon"],
    ["BASE/free", "--tokens", "/dev/null/tokens.json"],
]


@pytest.mark.parametrize("arguments", USAGE, ids=[" ".join(arguments[-2:]) for arguments in USAGE])
async def test_wrong_usage_exits_2_before_anything_is_sent(run: Run, seller: Seller, arguments: list[str]) -> None:
    result = await run(*arguments)
    assert (result.exit_code, seller.seen) == (2, [])
    assert "Traceback" not in result.output


async def test_a_price_limit_is_required_and_may_come_from_the_environment(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("L402_MAX_PRICE", raising=False)
    missing = await run("BASE/weather/now", price=None)
    assert (missing.exit_code, "--max-price is missing" in missing.stderr) == (2, True)
    monkeypatch.setenv("L402_MAX_PRICE", "9999 msat")
    assert (await run("BASE/weather/now", price=None)).exit_code == 3
    monkeypatch.setenv("L402_MAX_PRICE", "10 sat")
    assert (await run("BASE/weather/now", price=None)).exit_code == 0


async def test_each_way_to_fail_has_its_exit_code(run: Run, seller: Seller) -> None:
    too_dear = await run("BASE/weather/now", price="9 sat")
    assert (too_dear.exit_code, "the price is 10 sat, the limit is 9 sat" in too_dear.stderr) == (3, True)
    seller.node.faults = Faults(withhold_preimage=True)
    assert (await run("BASE/weather/history")).exit_code == 1
    seller.node.faults = Faults()
    assert (await run("--network", "signet", "BASE/weather/now")).exit_code == 4
    seller.answers["/odd"] = lambda: web.Response(status=402, headers={"WWW-Authenticate": "L402 x"})
    assert (await run("BASE/odd")).exit_code == 4
    seller.challenge = lambda token, invoice: f'LSAT macaroon="{token}", invoice="{invoice}"'
    unpaid = await run("BASE/maps/now")
    assert (unpaid.exit_code, "402 payment_required" in unpaid.stderr) == (5, True)
    assert (await run("http://127.0.0.1:1/")).exit_code == 6
    seller.answers["/down"] = lambda: web.Response(status=503, headers={"Retry-After": "5"})
    down = await run("BASE/down")
    assert (down.exit_code, "try again in 5 s" in down.stderr) == (6, True)
    seller.answers["/gone"] = lambda: web.Response(status=410, body=b"no more")
    gone = await run("BASE/gone")
    assert (gone.exit_code, gone.stdout_bytes) == (22, b"no more")


async def test_no_secret_is_printed(run: Run, seller: Seller) -> None:
    result = await run("BASE/weather/now")
    (credential,) = seller.seen[-1].authorizations
    token, _, preimage = credential[5:].partition(":")
    assert token not in result.output
    assert preimage not in result.output


async def test_the_command_is_part_of_the_program(seller: Seller, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "pay", f"{seller.base}/weather/now", "--max-price", "10 sat"),
        env={**os.environ, "L402_SIM_NODE": seller.node.endpoint, "XDG_DATA_HOME": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"paid /weather/now:")
    assert await seller.payments() * 10 * SAT == 10 * SAT
