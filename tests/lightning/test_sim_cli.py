"""`gateway sim pay`: an invoice or a whole 402 response in, a preimage or a header line out, telling exit codes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from click.testing import CliRunner, Result

from gateway.cli.sim import sim
from gateway.l402 import bolt11
from gateway.l402.amounts import Msat
from gateway.l402.challenge import format_challenge
from gateway.lightning.backend import NewInvoice
from gateway.lightning.simulated import Faults, Receipt
from tests.lightning.simulated_bench import SimulatedBench

TOKEN = b"\x02a macaroon\xff"
TOKEN_TEXT = "AmEgbWFjYXJvb27/"


class RunningNode:
    """A simulated node in a thread of its own, as the command runs an event loop in this one."""

    def __init__(self, data: Path) -> None:
        self.bench = SimulatedBench(data)
        self._loop = asyncio.new_event_loop()

    @contextmanager
    def running(self) -> Iterator[None]:
        started = Event()

        async def serve() -> None:
            await self.bench.backend.start()
            self._stop = asyncio.Event()
            started.set()
            await self._stop.wait()
            await self.bench.backend.aclose()

        def run() -> None:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(serve())

        thread = Thread(target=run)
        thread.start()
        assert started.wait(30)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(30)

    @property
    def url(self) -> str:
        return self.bench.backend.endpoint

    def invoice(self, network_faults: Faults | None = None) -> str:
        async def issue() -> str:
            self.bench.backend.faults = network_faults or Faults()
            return (await self.bench.backend.create_invoice(NewInvoice(Msat(1_500), 600, "weather"))).bolt11

        return asyncio.run_coroutine_threadsafe(issue(), self._loop).result(30)

    def preimage(self, invoice: str) -> str:
        outcome = asyncio.run_coroutine_threadsafe(self.bench.backend.pay(invoice), self._loop).result(30)
        assert isinstance(outcome, Receipt)
        return outcome.preimage.hex()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    node = RunningNode(tmp_path_factory.mktemp("sim") / "node.db")
    with node.running():
        yield node


def run(*arguments: str, stdin: str | bytes = "") -> Result:
    result = CliRunner().invoke(sim, ["pay", *arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result


def response(invoice: str, newline: str = "\r\n") -> str:
    lines = [
        "HTTP/1.1 402 Payment Required",
        "Content-Type: application/json",
        "WWW-Authenticate: " + format_challenge(TOKEN, invoice),
        "Cache-Control: no-store",
        "",
        '{"error": "payment_required"}',
    ]
    return newline.join(lines)


def test_an_invoice_is_paid_and_only_its_preimage_printed(node: RunningNode) -> None:
    invoice = node.invoice()
    result = run(invoice, "--node", node.url)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == node.preimage(invoice) + "\n"
    assert hashlib.sha256(bytes.fromhex(result.stdout.strip())).digest() == bolt11.decode(invoice).payment_hash


@pytest.mark.parametrize("form", ["{}\n", "  {}  ", "lightning:{}"])
def test_an_invoice_may_come_from_standard_input(node: RunningNode, form: str) -> None:
    invoice = node.invoice()
    result = run("-", "--node", node.url, stdin=form.format(invoice))
    assert (result.exit_code, result.stdout) == (0, node.preimage(invoice) + "\n")


def test_an_invoice_in_upper_case_is_paid(node: RunningNode) -> None:
    invoice = node.invoice()
    assert run(invoice.upper(), "--node", node.url).stdout == node.preimage(invoice) + "\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_402_response_becomes_the_header_to_send(node: RunningNode, newline: str) -> None:
    invoice = node.invoice()
    result = run("-", "--node", node.url, "--authorization", stdin=response(invoice, newline))
    assert result.exit_code == 0
    assert result.stdout == f"Authorization: L402 {TOKEN_TEXT}:{node.preimage(invoice)}\n"


def test_a_402_response_can_be_an_argument_and_give_just_the_preimage(node: RunningNode) -> None:
    invoice = node.invoice()
    assert run(response(invoice), "--node", node.url).stdout == node.preimage(invoice) + "\n"


@pytest.mark.parametrize(
    "form", ["www-authenticate: {}", "< WWW-Authenticate: {}\n< Date: now", "WWW-Authenticate:{}", "{}"]
)
def test_the_header_line_alone_is_enough(node: RunningNode, form: str) -> None:
    invoice = node.invoice()
    text = form.format(format_challenge(TOKEN, invoice))
    result = run("-", "--node", node.url, "--authorization", stdin=text)
    assert result.stdout == f"Authorization: L402 {TOKEN_TEXT}:{node.preimage(invoice)}\n"


def test_other_challenges_and_a_binary_body_do_not_matter(node: RunningNode) -> None:
    invoice = node.invoice()
    text = "HTTP/1.1 402 Payment Required\r\nWWW-Authenticate: Basic realm=x\r\n" + response(invoice)
    assert run("-", "--node", node.url, stdin=text.encode() + b"\xff\xfe\x00").stdout == node.preimage(invoice) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a BOLT11 invoice"),
        ("lnbcrt1garbage", "not a BOLT11 invoice: "),
        ("hello", "not a BOLT11 invoice"),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello", "no L402 challenge"),
        ("HTTP/1.1 402 Payment Required\r\nWWW-Authenticate: Basic realm=x\r\n\r\n", "no L402 challenge"),
        ('WWW-Authenticate: L402 macaroon="AAAA", invoice="lnbcrt1garbage"', "not a BOLT11 invoice"),
    ],
)
@pytest.mark.parametrize("way", ["argument", "stdin"])
def test_what_holds_no_invoice_is_bad_input(node: RunningNode, text: str, message: str, way: str) -> None:
    result = run("-", "--node", node.url, stdin=text) if way == "stdin" else run(text, "--node", node.url)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_header_line_needs_a_challenge_and_without_one_nothing_is_paid(node: RunningNode) -> None:
    invoice = node.invoice()
    result = run(invoice, "--node", node.url, "--authorization")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--authorization needs a 402 response" in result.stderr
    hash_ = bolt11.decode(invoice).payment_hash
    status = asyncio.run_coroutine_threadsafe(node.bench.backend.lookup(hash_), node._loop).result(30)
    assert status.paid_msat == 0


def test_an_invoice_of_another_node_is_not_paid(node: RunningNode) -> None:
    result = run(node.invoice(Faults(wrong_hash=True)), "--node", node.url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not paid: " in result.stderr


def test_a_withheld_preimage_may_have_been_paid(node: RunningNode) -> None:
    result = run(node.invoice(Faults(withhold_preimage=True)), "--node", node.url)
    assert (result.exit_code, result.stdout) == (3, "")
    assert "withheld" in result.stderr


def test_no_node_is_not_the_same_as_not_paid(node: RunningNode, unused_tcp_port: int) -> None:
    result = run(node.invoice(), "--node", f"http://127.0.0.1:{unused_tcp_port}")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "no connection to the simulated node" in result.stderr


def test_a_node_is_a_url(node: RunningNode) -> None:
    result = run(node.invoice(), "--node", "127.0.0.1:8403")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "http://" in result.stderr


def test_the_node_of_the_example_configuration_is_the_default() -> None:
    assert "http://127.0.0.1:8403" in CliRunner().invoke(sim, ["pay", "--help"]).output
