"""Buy with the package ``l402-requests``: both of its clients. Runs in that package's own environment.

Takes BASE and SIM from the environment; prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
from urllib.parse import urlsplit

import httpx  # type: ignore[import-not-found]
from l402_requests import (  # type: ignore[import-not-found]
    AsyncL402Client,
    BudgetController,
    BudgetExceededError,
    CredentialCache,
    L402Client,
    WalletBase,
)

BASE, SIM = os.environ["BASE"], os.environ["SIM"]
WEATHER, ECHO = f"{BASE}/weather/today", f"{BASE}/echo"


class SimulatedWallet(WalletBase):  # type: ignore[misc]
    """Pays with the simulated node's play money."""

    def __init__(self) -> None:
        self.paid = 0

    async def pay_invoice(self, bolt11: str) -> str:
        """Pay and give the preimage in hex."""
        self.paid += 1
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{SIM}/pay", json={"invoice": bolt11})
        return str(answer.json()["preimage"])


def _cache_with_a_useless_credential() -> CredentialCache:
    cache = CredentialCache()
    cache.put(urlsplit(WEATHER).hostname, "/weather/brno", "AgEEbHNhdA==", "00" * 32)
    return cache


def _report(answers: list[httpx.Response], wallet: SimulatedWallet) -> dict[str, object]:
    return {
        "statuses": [answer.status_code for answer in answers],
        "sky": answers[0].json()["sky"],
        "echoed": len(answers[2].content),
        "paid": wallet.paid,
    }


def buy() -> dict[str, object]:
    """Twice the same URL, a POST, and a URL for which a useless credential is kept."""
    wallet = SimulatedWallet()
    client = L402Client(wallet, BudgetController(max_sats_per_request=10), _cache_with_a_useless_credential())
    answers = [client.get(WEATHER), client.get(WEATHER), client.post(ECHO, content=b"x" * 100_000)]
    answers.append(client.get(f"{BASE}/weather/brno"))
    return _report(answers, wallet)


async def buy_asynchronously() -> dict[str, object]:
    """The same with the asynchronous client."""
    wallet = SimulatedWallet()
    cache = _cache_with_a_useless_credential()
    async with AsyncL402Client(wallet, BudgetController(max_sats_per_request=10), cache) as client:
        answers = [await client.get(WEATHER), await client.get(WEATHER)]
        answers.append(await client.post(ECHO, content=b"x" * 100_000))
        answers.append(await client.get(f"{BASE}/weather/brno"))
    return _report(answers, wallet)


def buy_beyond_the_budget() -> bool:
    """Whether the client reads the price from our invoice and refuses it."""
    try:
        L402Client(SimulatedWallet(), BudgetController(max_sats_per_request=9)).get(WEATHER)
    except BudgetExceededError:
        return True
    return False


if __name__ == "__main__":
    report = {"sync": buy(), "async": asyncio.run(buy_asynchronously()), "too_dear": buy_beyond_the_budget()}
    print(json.dumps(report))
