"""The paywall in memory: a store that forgets, a node that does as it is told, a clock that tests move."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from gateway.errors import NodeUnreachable, OutageError, UnknownInvoice
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.l402.macaroon import decode_macaroon
from gateway.l402.minting import attenuate
from gateway.l402.tokens import decode_token, encode_token
from gateway.lightning.backend import InvoiceStatus, IssuedInvoice, NewInvoice, NodeHealth
from gateway.lightning.bolt11_signing import Draft, NodeKey
from gateway.paywall.admission import Admission
from gateway.paywall.caches import Caches
from gateway.paywall.minting import IssuedChallenge, Minter
from gateway.paywall.settlement import Settlements
from gateway.paywall.terms import Terms
from gateway.storage.memory import MemoryStore
from gateway.storage.store import StoredInvoice, TokenRecord

EXPIRY_S = 600
HOUR = 3_600
START = 1_800_000_000.0
CHEAP = Terms("weather", "default", Msat(1_500), valid_for_s=HOUR)
DEAR = Terms("weather", "history", Msat(20_000), valid_for_s=HOUR)
FOREVER = Terms("archive", "default", Msat(3_000))

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Clock:
    """Unix seconds that tests move."""

    now: float = START

    def __call__(self) -> float:
        return self.now


def counted_bytes(seed: str = "") -> Callable[[int], bytes]:
    """Different bytes at each call, the same in each run."""
    calls = itertools.count()
    return lambda size: hashlib.sha512(f"{seed} {next(calls)}".encode()).digest()[:size]


class ObedientNode:
    """A ``LightningBackend`` that settles, fails and waits when a test says so; its invoices are signed BOLT 11."""

    play_money = True

    def __init__(self, clock: Clock, *, name: str = "obedient", network: str = "regtest") -> None:
        self.name, self.network = name, network
        self.clock = clock
        self.outage: OutageError | None = None
        self.refusals: dict[bytes, OutageError] = {}
        self.open_for_lookups = asyncio.Event()
        self.open_for_lookups.set()
        self.looked_up: list[bytes] = []
        self.watched_from: list[int] = []
        self.watches_ended = 0
        self.issued: list[NewInvoice] = []
        self.statuses: dict[bytes, InvoiceStatus] = {}
        self.preimages: dict[bytes, bytes] = {}
        self.bolt11s: dict[str, bytes] = {}
        self.settle_index = 0
        self._key = NodeKey(b"\x01" * 32)
        self._random = counted_bytes(name)
        self._news: asyncio.Queue[InvoiceStatus | OutageError] = asyncio.Queue()

    async def start(self) -> None:
        """Nothing to begin."""

    async def create_invoice(self, wanted: NewInvoice) -> IssuedInvoice:
        """A fresh invoice."""
        self._refuse_if_out()
        self.issued.append(wanted)
        preimage = self._random(32)
        payment_hash = hashlib.sha256(preimage).digest()
        text = self._key.sign(
            Draft(
                network=self.network,
                amount_msat=wanted.amount_msat,
                payment_hash=payment_hash,
                payment_secret=self._random(32),
                description=wanted.memo,
                timestamp=int(self.clock()),
                expiry_s=wanted.expiry_s,
            )
        )
        self.preimages[payment_hash] = preimage
        self.bolt11s[text] = payment_hash
        self.statuses[payment_hash] = InvoiceStatus(
            payment_hash, InvoiceState.OPEN, wanted.amount_msat, Msat(0), None, 0
        )
        return IssuedInvoice(payment_hash, text)

    async def lookup(self, payment_hash: bytes) -> InvoiceStatus:
        """Waits while a test has closed ``open_for_lookups``."""
        self.looked_up.append(payment_hash)
        await self.open_for_lookups.wait()
        self._refuse_if_out()
        if payment_hash in self.refusals:
            raise self.refusals[payment_hash]
        if payment_hash not in self.statuses:
            raise UnknownInvoice("unknown")
        return self.statuses[payment_hash]

    async def watch(self, after: int) -> AsyncIterator[InvoiceStatus]:
        """What ``tell`` is given; replays as lnd does: nothing from 0."""
        self.watched_from.append(after)
        try:
            self._refuse_if_out()
            known = [status for status in self.statuses.values() if status.settle_index > after > 0]
            for status in sorted(known, key=lambda status: status.settle_index):
                yield status
            while True:
                news = await self._news.get()
                if isinstance(news, OutageError):
                    raise news
                yield news
        finally:
            self.watches_ended += 1

    async def health(self) -> NodeHealth:
        """As it is."""
        return NodeHealth(self.outage is None, "")

    async def aclose(self) -> None:
        """Nothing to release."""

    def settle(self, payment_hash: bytes, *, at: float | None = None, paid: int | None = None) -> bytes:
        """Somebody paid; gives the preimage. The stream hears of it only through ``tell``."""
        self.settle_index += 1
        status = self.statuses[payment_hash]
        self.statuses[payment_hash] = replace(
            status,
            state=InvoiceState.SETTLED,
            paid_msat=Msat(status.amount_msat if paid is None else paid),
            settled_at=int(self.clock() if at is None else at),
            settle_index=self.settle_index,
        )
        return self.preimages[payment_hash]

    def put(self, payment_hash: bytes, state: InvoiceState) -> None:
        """An invoice stands otherwise now."""
        self.statuses[payment_hash] = replace(self.statuses[payment_hash], state=state)

    def tell(self, news: bytes | InvoiceStatus | OutageError) -> None:
        """Say something on the settlement stream: how the invoice with this hash stands, or that it broke."""
        self._news.put_nowait(self.statuses[news] if isinstance(news, bytes) else news)

    def _refuse_if_out(self) -> None:
        if self.outage is not None:
            raise self.outage


class Shop:
    """Everything that sells, over one store and one node."""

    def __init__(
        self,
        *,
        strict: bool = False,
        store: MemoryStore | None = None,
        node: ObedientNode | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.store = store or MemoryStore()
        self.node = node or ObedientNode(self.clock)
        self.settled: list[StoredInvoice] = []
        self.settlements = Settlements(self.store, self.node, self.clock, on_settled=self.settled.append)
        self.caches = Caches()
        self.admission = Admission(self.store, self.settlements, self.caches, strict=strict, clock=self.clock)
        self.minter = Minter(
            self.store, self.node, invoice_expiry_s=EXPIRY_S, clock=self.clock, token_bytes=counted_bytes()
        )

    async def offer(self, terms: Terms) -> IssuedChallenge:
        """A 402's content."""
        return await self.minter.issue(terms, "api.example.com")

    async def buy(self, terms: Terms) -> Headers:
        """Pay an offer; gives the request headers that prove it."""
        offer = await self.offer(terms)
        return proof(offer.token, self.node.settle(offer.payment_hash))

    async def stored(self, payment_hash: bytes) -> StoredInvoice:
        """The invoice's row."""
        invoice = await self.store.find_invoice(payment_hash)
        assert invoice is not None
        return invoice

    async def record(self, headers: Headers) -> TokenRecord:
        """The row of the token in these headers."""
        record = await self.store.find_token(key_of(headers))
        assert record is not None
        return record

    async def revoke(self, headers: Headers) -> None:
        """Revoke the token, and let the caches hear of it as the revocation feed does."""
        assert await self.store.revoke(key_of(headers), now=int(self.clock()))
        self.caches.forget_token(key_of(headers))


def proof(token: str, preimage: bytes) -> Headers:
    """What a buyer sends."""
    return [("Authorization", f"L402 {token}:{preimage.hex()}")]


def parts(headers: Headers) -> tuple[str, bytes]:
    """(token, preimage) of what ``proof`` made."""
    token, _, preimage = headers[0][1].removeprefix("L402 ").partition(":")
    return token, bytes.fromhex(preimage)


def key_of(headers: Headers) -> bytes:
    """sha256 of the token's identifier."""
    return hashlib.sha256(decode_macaroon(decode_token(parts(headers)[0])).identifier).digest()


def narrowed(headers: Headers, *caveats: str) -> Headers:
    """The same credential with caveats added by its holder."""
    token, preimage = parts(headers)
    return proof(encode_token(attenuate(decode_token(token), caveats)), preimage)


def down(text: str = "the node is away") -> OutageError:
    """An outage of the node."""
    return NodeUnreachable(text)


async def until(check: Callable[[], bool]) -> None:
    """Let the other tasks run until something holds; a failure if that takes thousands of turns."""
    for _ in range(5_000):
        if check():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


def hashes(invoices: Sequence[StoredInvoice]) -> set[bytes]:
    """Their payment hashes."""
    return {invoice.payment_hash for invoice in invoices}
