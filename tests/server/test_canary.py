"""Secrets that are used through every path of the gateway turn up in no log line, no answer and no upstream request."""

from __future__ import annotations

import asyncio
import base64
import logging
from pathlib import Path

import pytest

from gateway.l402.minting import attenuate
from gateway.l402.tokens import decode_token
from gateway.lightning.simulated import Faults
from tests.server.rig import Clock, Rig, key_of, running_rig

ENV_SECRET = "canary-of-the-environment-7f3a"
TODAY = "/weather/today"


class Sinks:
    """Everything that leaves the gateway besides what it must say."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []

    def leaks(self, rig: Rig, secrets: dict[str, str], caught: str) -> list[str]:
        captured = {
            "log": rig.log.getvalue(),
            "library log": caught,
            "answers": b"".join(self.answers).decode("latin-1"),
            "upstream": str(rig.upstream.seen),
        }
        return [
            f"{name} in {sink}"
            for name, secret in secrets.items()
            for sink, text in captured.items()
            if secret.lower() in text.lower()
        ]


async def test_no_secret_reaches_a_log_an_answer_or_the_upstream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running_rig(tmp_path) as rig:
        rig.watch_for_leaks = False  # the query below hands the preimage to the upstream on purpose
        sinks = Sinks()
        offer = await rig.challenge(TODAY)
        preimage = await rig.pay(offer.invoice)
        record = None
        secrets = {"preimage": preimage, "macaroon": offer.macaroon, "preimage base64": base64_of(preimage)}

        async def send(path: str = TODAY, method: str = "GET", **headers: str) -> int:
            status, answered, body = await rig.get(path, method=method, headers=headers)
            sinks.answers.append(repr(answered).encode() + body)
            return status

        good = f"L402 {offer.macaroon}:{preimage}"
        hexed = attenuate(decode_token(offer.macaroon), [f"preimage={preimage}"]).hex()
        secrets["hex macaroon"] = hexed
        assert await send(Authorization=good) == 200
        assert await send(Macaroon=hexed) == 200
        assert await send(path="/weather/status", Authorization=good) == 200
        assert await send(path="/open/x", Authorization=good) == 200
        malformed = f"L402 {offer.macaroon}:{preimage}0"
        assert await send(path=f"/weather/x?token={preimage}", Authorization=malformed) == 402
        assert await send(path="/archive/1", Authorization=good) == 402
        assert await send(path="/elsewhere", Authorization=good) == 404
        assert await send(method="TRACE", Authorization=good) == 405
        raw = await raw_answer(rig, f"GET {TODAY} HTTP/1.1\r\nHost: x\r\nAuthorization: {good}\r\nX: \x01\r\n\r\n")
        sinks.answers.append(raw)
        assert raw.startswith(b"HTTP/1.1 400")
        assert isinstance(rig.clock, Clock)
        rig.clock.now += 7_200
        assert await send(Authorization=good) == 402
        rig.node.faults = Faults(down=True)
        assert await send(Authorization=f"L402 {offer.macaroon}:{'0' * 64}") == 503
        record = await rig.gateway.store.find_token(key_of(offer.macaroon))
        assert record is not None
        assert record.token.root_key is not None
        secrets["root key"] = record.token.root_key.hex()
        secrets["root key base64"] = base64.b64encode(record.token.root_key).decode()
        caught = "\n".join(f"{entry.getMessage()} {entry.exc_text or ''}" for entry in caplog.records)
        # the query carried the preimage on purpose: the upstream gets the query, the log must not
        rig.upstream.seen[:] = [seen for seen in rig.upstream.seen if "token=" not in seen[1]]
        assert sinks.leaks(rig, secrets, caught) == []
        assert len(rig.log.getvalue().splitlines()) >= 10
        for object_ in (record, offer.macaroon and record.token):
            assert record.token.root_key.hex() not in repr(object_)


def base64_of(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


async def raw_answer(rig: Rig, sent: str) -> bytes:
    reader, writer = await asyncio.open_connection(*rig.gateway.address)
    writer.write(sent.encode("latin-1"))
    try:
        return await asyncio.wait_for(reader.read(65_536), 10)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_secret_from_the_environment_reaches_only_the_upstream_it_was_meant_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    services = """
  - name: keyed
    match: {path: /keyed}
    upstream: UPSTREAM
    price: free
    request_headers: {X-Api-Key: "${SELLER_KEY}"}
"""
    async with running_rig(tmp_path, services=services, env={"SELLER_KEY": ENV_SECRET}) as rig:
        status, headers, body = await rig.get("/keyed")
        assert status == 200
        assert rig.upstream.header("x-api-key") == ENV_SECRET
        for text in (rig.log.getvalue(), caplog.text, repr(headers), body.decode(), repr(rig.gateway.settings)):
            assert ENV_SECRET not in text
