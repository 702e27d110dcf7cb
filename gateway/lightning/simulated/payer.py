"""A wallet full of play money: pays the invoices of a simulated node through its endpoint."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import aiohttp

from gateway.errors import InvoiceError, NodeUnreachable, PaymentFailed
from gateway.l402 import bolt11
from gateway.l402.amounts import Msat
from gateway.lightning.payer import Payment
from gateway.lightning.simulated.payment import Refusal

MAX_ANSWER_BYTES = 65_536

_FINAL = (Refusal.NOT_AN_INVOICE, Refusal.UNKNOWN_INVOICE, Refusal.EXPIRED)


class SimulatedPayer:
    """A ``Payer``; ``url`` is the node's endpoint, such as ``http://127.0.0.1:8403``. There are no fees."""

    def __init__(self, url: str) -> None:
        """Raises ``ValueError`` unless ``url`` is http or https."""
        if not url.startswith(("http://", "https://")):
            raise ValueError("a simulated node's URL begins with http://")
        self._url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def pay(self, bolt11: str, *, max_fee_msat: Msat, timeout_s: float) -> Payment:
        """Pay; ``max_fee_msat`` is never reached.

        Raises ``PaymentFailed`` when the node refuses for good (nothing was paid), and ``NodeUnreachable`` for
        everything after which it may be paid: no connection, no answer in ``timeout_s``, no preimage in the answer.
        """
        if self._closed:
            raise NodeUnreachable("the wallet is closed")
        try:
            async with asyncio.timeout(timeout_s):
                status, answer = await self._post({"invoice": bolt11})
        except TimeoutError:
            raise NodeUnreachable(f"the simulated node gave no answer in {timeout_s:g} s") from None
        except aiohttp.ClientError as error:
            raise NodeUnreachable(f"no connection to the simulated node at {self._url}: {error}") from error
        if status == 200:
            return Payment(preimage=_read_preimage(answer, bolt11), fee_msat=Msat(0))
        message = f"the simulated node answered {status}: {answer.get('message', 'no message')}"
        if answer.get("code") in _FINAL:
            raise PaymentFailed(message)
        raise NodeUnreachable(message)

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        async with self._session.post(f"{self._url}/pay", json=body, allow_redirects=False) as response:
            length = response.content_length
            if length is None or length > MAX_ANSWER_BYTES:
                return response.status, {}
            return response.status, _read_object(await response.read())


def _read_object(raw: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _read_preimage(answer: dict[str, Any], invoice: str) -> bytes:
    try:
        preimage = bytes.fromhex(answer["preimage"])
        payment_hash = bolt11.decode(invoice).payment_hash
    except (KeyError, TypeError, ValueError, InvoiceError):
        raise NodeUnreachable("the simulated node's answer holds no preimage") from None
    if hashlib.sha256(preimage).digest() != payment_hash:
        raise NodeUnreachable("the simulated node's preimage does not belong to the invoice")
    return preimage
