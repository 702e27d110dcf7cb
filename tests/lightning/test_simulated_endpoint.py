"""The loopback endpoint: what pays, what is refused, and that no web page can use it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.lightning.backend import NewInvoice
from gateway.lightning.simulated import Faults
from tests.lightning.simulated_bench import SimulatedBench

WANTED = NewInvoice(Msat(1_500), 600, "weather: default")
JSON = {"Content-Type": "application/json"}


class EndpointBench(SimulatedBench):
    http: aiohttp.ClientSession

    async def request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = self.backend.endpoint + path
        async with self.http.request(
            method, url, data=None if method == "GET" else raw, headers=JSON | (headers or {})
        ) as response:
            assert response.content_type == "application/json"
            return response.status, await response.json()

    async def invoice(self) -> str:
        return (await self.backend.create_invoice(WANTED)).bolt11


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[EndpointBench]:
    bench = EndpointBench(tmp_path / "node.db")
    await bench.backend.start()
    async with aiohttp.ClientSession() as bench.http:
        yield bench
    await bench.backend.aclose()


async def test_it_says_that_it_is_play_money(node: EndpointBench) -> None:
    status, answer = await node.request("GET", "/")
    assert status == 200
    assert answer["play_money"] is True
    assert "play money" in answer["message"]
    assert (answer["node"], answer["network"], answer["node_id"]) == (
        "simulated",
        "regtest",
        node.backend.node_id.hex(),
    )


async def test_paying_gives_the_preimage_and_settles(node: EndpointBench) -> None:
    issued = await node.backend.create_invoice(WANTED)
    status, answer = await node.request("POST", "/pay", {"invoice": issued.bolt11})
    assert status == 200
    assert set(answer) == {"preimage", "payment_hash", "amount_msat"}
    assert hashlib.sha256(bytes.fromhex(answer["preimage"])).digest() == issued.payment_hash
    assert (answer["payment_hash"], answer["amount_msat"]) == (issued.payment_hash.hex(), 1_500)
    assert (await node.backend.lookup(issued.payment_hash)).state is InvoiceState.SETTLED
    assert await node.request("POST", "/pay", {"invoice": issued.bolt11}) == (200, answer)


async def test_refused_payments_have_stable_codes(node: EndpointBench, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = SimulatedBench(tmp_path / "other" / "node.db")
    await other.backend.start()
    foreign = (await other.backend.create_invoice(WANTED)).bolt11
    await other.backend.aclose()
    expired = await node.invoice()
    await node.pass_time(600)
    for invoice, status, code in (
        (foreign, 404, "unknown_invoice"),
        (expired, 410, "invoice_expired"),
        ("lnbcrt1garbage", 422, "not_an_invoice"),
        ("", 422, "not_an_invoice"),
    ):
        answered = await node.request("POST", "/pay", {"invoice": invoice})
        assert (answered[0], answered[1]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "bad_request"),
        ([], 400, "bad_request"),
        ({"invoice": 7}, 400, "bad_request"),
        ({"invoice": None}, 400, "bad_request"),
        (b"", 400, "bad_request"),
        (b"{", 400, "bad_request"),
        (b"\xff\xfe\x00", 400, "bad_request"),
        (b"[" * 15_000, 400, "bad_request"),
        (b" " * 20_000, 413, "body_too_large"),
    ],
)
async def test_a_body_that_is_no_payment_is_refused(node: EndpointBench, body: object, status: int, code: str) -> None:
    answered = await node.request("POST", "/pay", body)
    assert (answered[0], answered[1]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/pay", 405, "method_not_allowed"),
        ("POST", "/", 405, "method_not_allowed"),
        ("GET", "/x", 404, "not_found"),
    ],
)
async def test_other_requests_are_refused_in_json(
    node: EndpointBench, method: str, path: str, status: int, code: str
) -> None:
    answered = await node.request(method, path, {})
    assert (answered[0], answered[1]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Origin": "http://evil.example"}, 403, "origin_refused"),
        ({"Origin": "null"}, 403, "origin_refused"),
        ({"Origin": "http://127.0.0.1:8403"}, 403, "origin_refused"),
        ({"Host": "evil.example"}, 421, "not_loopback"),
        ({"Host": "evil.example:8403"}, 421, "not_loopback"),
        ({"Host": "127.0.0.1.evil.example"}, 421, "not_loopback"),
        ({"Host": "localhost.evil.example"}, 421, "not_loopback"),
        ({"Host": "127.0.0.1@evil.example"}, 421, "not_loopback"),
        ({"Host": "192.168.1.7"}, 421, "not_loopback"),
        ({"Content-Type": "text/plain"}, 415, "not_json"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "not_json"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415, "not_json"),
    ],
)
@pytest.mark.parametrize("path", ["/pay", "/faults"])
async def test_a_web_page_can_neither_pay_nor_throw_switches(
    node: EndpointBench, headers: dict[str, str], status: int, code: str, path: str
) -> None:
    issued = await node.backend.create_invoice(WANTED)
    body = {"invoice": issued.bolt11} if path == "/pay" else {"down": True}
    answered = await node.request("POST", path, body, headers)
    assert (answered[0], answered[1]["code"]) == (status, code)
    assert (await node.backend.lookup(issued.payment_hash)).state is InvoiceState.OPEN


async def test_a_preflight_is_never_granted(node: EndpointBench) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    async with node.http.options(node.backend.endpoint + "/pay", headers=headers) as response:
        assert response.status == 403
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8403", "127.0.0.1", "127.0.0.1:1", "[::1]:8403"])
async def test_this_machine_is_known_by_its_names(node: EndpointBench, host: str) -> None:
    body = {"invoice": await node.invoice()}
    assert (await node.request("POST", "/pay", body, {"Host": host}))[0] == 200


async def test_switches_are_set_as_a_whole(node: EndpointBench) -> None:
    status, answer = await node.request("POST", "/faults", {"settle_late": 5, "withhold_preimage": True})
    assert status == 200
    assert answer == asdict(Faults(settle_late=5, withhold_preimage=True))
    assert node.backend.faults == Faults(settle_late=5, withhold_preimage=True)
    assert await node.request("POST", "/faults", {}) == (200, asdict(Faults()))
    assert node.backend.faults == Faults()


@pytest.mark.parametrize(
    "body",
    [{"slow": "1"}, {"slow": True}, {"slow": -1}, {"slow": 1e400}, {"down": 1}, {"down": None}, {"bug": True}, []],
)
async def test_a_switch_that_does_not_exist_changes_nothing(node: EndpointBench, body: object) -> None:
    node.backend.faults = Faults(settle_late=1)
    status, answer = await node.request("POST", "/faults", body)
    assert (status, answer["code"]) == (422, "bad_faults")
    assert node.backend.faults == Faults(settle_late=1)


async def test_a_node_that_is_down_can_be_switched_on_again(node: EndpointBench) -> None:
    body = {"invoice": await node.invoice()}
    await node.request("POST", "/faults", {"down": True})
    status, answer = await node.request("POST", "/pay", body)
    assert (status, answer["code"]) == (503, "node_unavailable")
    await node.request("POST", "/faults", {})
    assert (await node.request("POST", "/pay", body))[0] == 200


async def test_a_withheld_preimage_is_in_no_answer(node: EndpointBench) -> None:
    body = {"invoice": await node.invoice()}
    await node.request("POST", "/faults", {"withhold_preimage": True})
    status, answer = await node.request("POST", "/pay", body)
    assert (status, answer["code"]) == (502, "preimage_withheld")
    assert "preimage" not in answer
