"""Buy with the package ``l402``: its requests and its httpx client. Runs in that package's own environment.

Takes BASE and SIM from the environment; prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import urllib.request

from l402.client import Client, L402Credentials, PreimageProvider, requests  # type: ignore[import-not-found]
from l402.client.credentials import SqliteAsyncService, SqliteCredentialsService  # type: ignore[import-not-found]

BASE, SIM = os.environ["BASE"], os.environ["SIM"]
WEATHER, ECHO = f"{BASE}/weather/today", f"{BASE}/echo"


class SimulatedWallet(PreimageProvider):  # type: ignore[misc]
    """Pays with the simulated node's play money."""

    def __init__(self) -> None:
        self.paid = 0

    def get_preimage(self, invoice: str) -> str:
        """Pay and give the preimage in hex."""
        self.paid += 1
        body = json.dumps({"invoice": invoice}).encode()
        request = urllib.request.Request(f"{SIM}/pay", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["preimage"])


class AsyncWallet:
    """The same, as the package's httpx client calls it."""

    def __init__(self) -> None:
        self.wallet = SimulatedWallet()

    async def get_preimage(self, invoice: str) -> str:
        """Pay and give the preimage in hex."""
        return await asyncio.to_thread(self.wallet.get_preimage, invoice)


def _unknown_credentials(url: str) -> L402Credentials:
    credentials = L402Credentials("AgEEbHNhdA==", "00" * 32, "lnbcrt1")
    credentials.set_location(url)
    return credentials


def buy_with_requests() -> dict[str, object]:
    """Twice the same URL, a POST, and a URL for which a useless credential is kept."""
    wallet, store = SimulatedWallet(), SqliteCredentialsService("sync.db")
    requests.configure(preimage_provider=wallet, credentials_service=store)
    answers = [requests.get(WEATHER), requests.get(WEATHER), requests.post(ECHO, data=b"x" * 100_000)]
    store.store(_unknown_credentials(f"{WEATHER}?place=Brno"))
    answers.append(requests.get(f"{WEATHER}?place=Brno"))
    return {
        "statuses": [answer.status_code for answer in answers],
        "sky": answers[0].json()["sky"],
        "echoed": len(answers[2].content),
        "paid": wallet.paid,
    }


async def buy_with_httpx() -> dict[str, object]:
    """The same with the asynchronous client."""
    wallet, store = AsyncWallet(), SqliteAsyncService("async.db")
    client = Client(wallet, store)
    answers = [await client.request("GET", WEATHER), await client.request("GET", WEATHER)]
    answers.append(await client.request("POST", ECHO, content=b"x" * 100_000))
    await store.store(_unknown_credentials(f"{WEATHER}?place=Brno"))
    answers.append(await client.request("GET", f"{WEATHER}?place=Brno"))
    return {
        "statuses": [answer.status_code for answer in answers],
        "sky": answers[0].json()["sky"],
        "echoed": len(answers[2].content),
        "paid": wallet.wallet.paid,
    }


if __name__ == "__main__":
    print(json.dumps({"requests": buy_with_requests(), "httpx": asyncio.run(buy_with_httpx())}))
