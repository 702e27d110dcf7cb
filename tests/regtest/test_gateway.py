"""The whole gateway on a real node: sold by alice, paid by bob, through everything that may happen to either side."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.process import Answer, GatewayProcess, gateway_process, write_config
from tests.regtest.live import LiveNetwork

TODAY = "/weather/today"

CONFIG = """
listen: 127.0.0.1:0
lightning:
  backend: lnd
  network: regtest
  address: {address}
  tls_cert: {tls_cert}
  macaroon: {macaroon}
  invoice_expiry: {expiry}
  strict: {strict}
services:
  - {{name: weather, match: {{path: /weather/**}}, upstream: demo, price: 10 sat, valid_for: 1h}}
"""


def config_for(
    network: LiveNetwork,
    folder: Path,
    *,
    tls_cert: Path | None = None,
    macaroon: Path | None = None,
    expiry: str = "10m",
    strict: bool = False,
) -> Path:
    alice = network.alice
    return write_config(
        folder,
        CONFIG.format(
            address=alice.grpc,
            tls_cert=tls_cert or alice.tls_cert,
            macaroon=macaroon or alice.gateway_macaroon,
            expiry=expiry,
            strict="true" if strict else "false",
        ),
    )


async def ask(gateway: GatewayProcess, authorization: str | None = None) -> Answer:
    return await asyncio.to_thread(gateway.request, TODAY, authorization)


async def offer(gateway: GatewayProcess) -> tuple[str, str]:
    """(macaroon, invoice) of a fresh 402."""
    answer = await ask(gateway)
    assert answer.status == 402, answer
    return answer.json["macaroon"], answer.json["invoice"]


async def buy(gateway: GatewayProcess, network: LiveNetwork) -> str:
    """The value of an Authorization header that bob paid for."""
    macaroon, invoice = await offer(gateway)
    return f"L402 {macaroon}:{(await network.bob.pay(invoice)).hex()}"


async def until(gateway: GatewayProcess, status: int, authorization: str | None = None, seconds: float = 60) -> Answer:
    """Ask again until the answer has this status."""
    async with asyncio.timeout(seconds):
        while (answer := await ask(gateway, authorization)).status != status:
            await asyncio.sleep(0.2)
    return answer


async def test_invoice_by_alice_payment_by_bob_200(network: LiveNetwork, tmp_path: Path) -> None:
    with gateway_process(config_for(network, tmp_path)) as gateway:
        answer = await ask(gateway)
        assert answer.json["play_money"] is True  # regtest coins are worth nothing
        assert answer.json["network"] == "regtest"
        paid = await buy(gateway, network)
        assert (await ask(gateway, paid)).status == 200


async def test_strict_serves_what_the_node_says_is_settled(network: LiveNetwork, tmp_path: Path) -> None:
    with gateway_process(config_for(network, tmp_path, strict=True)) as gateway:
        paid = await buy(gateway, network)
        assert (await until(gateway, 200, paid, 10)).status == 200


async def test_the_node_killed_and_restarted_loses_no_sale(network: LiveNetwork, tmp_path: Path) -> None:
    with gateway_process(config_for(network, tmp_path)) as gateway:
        paid = await buy(gateway, network)
        macaroon, invoice = await offer(gateway)
        await network.alice.kill()
        answer = await ask(gateway)
        assert (answer.status, answer.json["error"]) == (503, "payments_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert (await ask(gateway, paid)).status == 200
        await network.alice.start()
        preimage = await network.bob.pay(invoice)
        assert (await ask(gateway, f"L402 {macaroon}:{preimage.hex()}")).status == 200
        assert (await until(gateway, 402)).status == 402


async def test_the_node_restarted_in_order_is_found_again(network: LiveNetwork, tmp_path: Path) -> None:
    with gateway_process(config_for(network, tmp_path)) as gateway:
        await offer(gateway)
        await network.alice.stop()
        assert (await ask(gateway)).status == 503
        await network.alice.start()
        await until(gateway, 402)
        assert (await ask(gateway, await buy(gateway, network))).status == 200


@pytest.mark.parametrize("strict", [False, True])
async def test_a_payment_made_while_the_gateway_was_down_counts(
    network: LiveNetwork, tmp_path: Path, strict: bool
) -> None:
    config = config_for(network, tmp_path, strict=strict)
    with gateway_process(config) as gateway:
        macaroon, invoice = await offer(gateway)
        gateway.kill()
    preimage = await network.bob.pay(invoice)
    with gateway_process(config) as gateway:
        answer = await until(gateway, 200, f"L402 {macaroon}:{preimage.hex()}", 10)
        assert answer.status == 200


async def test_killed_between_payment_and_use_the_token_works_after_the_restart(
    network: LiveNetwork, tmp_path: Path
) -> None:
    config = config_for(network, tmp_path)
    with gateway_process(config) as gateway:
        paid = await buy(gateway, network)
        gateway.kill()
    with gateway_process(config) as gateway:
        assert (await ask(gateway, paid)).status == 200


async def test_a_frozen_node_delays_new_challenges_no_longer_than_the_deadline_and_paid_ones_not_at_all(
    network: LiveNetwork, tmp_path: Path
) -> None:
    with gateway_process(config_for(network, tmp_path)) as gateway:
        paid = await buy(gateway, network)
        assert (await ask(gateway, paid)).status == 200
        await network.alice.freeze()
        asked = asyncio.create_task(ask(gateway))
        began = time.monotonic()
        assert (await ask(gateway, paid)).status == 200
        assert time.monotonic() - began < 2
        assert (await asked).status == 503
        assert time.monotonic() - began < 8
        await network.alice.thaw()
        assert (await until(gateway, 402)).status == 402


async def test_an_expired_invoice_can_be_neither_paid_nor_redeemed(network: LiveNetwork, tmp_path: Path) -> None:
    with gateway_process(config_for(network, tmp_path, expiry="5s")) as gateway:
        macaroon, invoice = await offer(gateway)
        await asyncio.sleep(6)  # the node's own clock decides
        with pytest.raises(Exception, match="expired"):
            await network.bob.pay(invoice)
        assert (await ask(gateway, f"L402 {macaroon}:{'0' * 64}")).status == 402


async def test_a_wrong_certificate_starts_degraded_and_heals_when_the_file_is_replaced(
    network: LiveNetwork, tmp_path: Path
) -> None:
    certificate = tmp_path / "tls.cert"
    certificate.write_bytes(network.bob.tls_cert.read_bytes())
    with gateway_process(config_for(network, tmp_path, tls_cert=certificate)) as gateway:
        assert (await ask(gateway)).status == 503
        certificate.write_bytes(network.alice.tls_cert.read_bytes())
        assert (await until(gateway, 402, seconds=30)).status == 402


async def test_a_macaroon_without_the_right_sells_nothing_and_says_so_in_the_log(
    network: LiveNetwork, tmp_path: Path
) -> None:
    macaroon = tmp_path / "reader.macaroon"
    macaroon.write_bytes(await network.alice.bake("invoices:read"))
    with gateway_process(config_for(network, tmp_path, macaroon=macaroon)) as gateway:
        answer = await ask(gateway)
        assert (answer.status, answer.json["error"]) == (503, "payments_unavailable")
        assert "NodeRefusedCredentials" in gateway.log.read_text()


async def test_the_least_macaroon_is_enough_and_an_admin_macaroon_earns_a_warning(
    network: LiveNetwork, tmp_path: Path
) -> None:
    least = tmp_path / "least.macaroon"
    least.write_bytes(await network.alice.bake("invoices:read", "invoices:write"))
    with gateway_process(config_for(network, tmp_path, macaroon=least)) as gateway:
        assert (await ask(gateway, await buy(gateway, network))).status == 200
        assert not any(line.startswith("warning") for line in gateway.lines)
    with gateway_process(config_for(network, tmp_path, macaroon=network.alice.admin_macaroon)) as gateway:
        assert "macaroon" in gateway.wait_for_line("warning")


async def test_with_no_node_at_all_it_starts_and_says_what_is_missing(network: LiveNetwork, tmp_path: Path) -> None:
    config = config_for(network, tmp_path)
    await network.alice.stop()
    with gateway_process(config) as gateway:
        assert (await ask(gateway)).status == 503
        assert "regtest" in gateway.wait_for_line("lnd on ")
        await network.alice.start()
        assert (await until(gateway, 402, seconds=60)).status == 402


async def test_settlements_are_noticed_without_anybody_asking(network: LiveNetwork, tmp_path: Path) -> None:
    with gateway_process(config_for(network, tmp_path)) as gateway:
        _, invoice = await offer(gateway)
        await network.bob.pay(invoice)
        async with asyncio.timeout(10):
            while '"settled"' not in gateway.log.read_text():
                await asyncio.sleep(0.1)


async def test_gateway_pay_buys_with_bobs_node_and_keeps_the_token(network: LiveNetwork, tmp_path: Path) -> None:
    await network.bob.link()
    with gateway_process(config_for(network, tmp_path)) as gateway:
        wallet = ["--wallet", "lnd", "--lnd-address", network.bob.grpc, "--lnd-cert", str(network.bob.tls_cert)]
        wallet += ["--lnd-macaroon", str(network.bob.gateway_macaroon), "--network", "regtest"]
        common = [sys.executable, "-m", "gateway", "pay", "--tokens", str(tmp_path / "tokens.json"), *wallet]
        url = f"{await asyncio.to_thread(lambda: gateway.base)}{TODAY}"
        outcomes = []
        for limit in ("9 sat", "10 sat", "10 sat"):
            command = [*common, "--max-price", limit, url]
            outcomes.append(
                await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
            )
    too_dear, bought, reused = outcomes
    assert too_dear.returncode == 3, too_dear
    assert bought.returncode == 0, bought
    assert '"sky"' in bought.stdout
    assert reused.returncode == 0, reused
    assert "paid: 10 sat" in bought.stderr
    assert "paid: 10 sat" not in reused.stderr
    assert (tmp_path / "tokens.json").stat().st_mode & 0o777 == 0o600
