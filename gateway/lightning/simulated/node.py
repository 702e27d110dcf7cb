"""``SimulatedNode``: a Lightning backend in this process, for trying and testing.

Its invoices are real: signed BOLT 11 with random preimages, which nobody outside can pay, because the network has never
heard of the node. Paying one is an explicit act: a call of ``pay``, or a POST to the loopback endpoint.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from gateway.errors import InvoiceError, NodeNotReady, NodeRefusedRequest, NodeUnreachable, OutageError, UnknownInvoice
from gateway.l402 import bolt11
from gateway.l402.amounts import MAX_MSAT, Msat
from gateway.lightning.backend import InvoiceStatus, IssuedInvoice, NewInvoice, NodeHealth
from gateway.lightning.bolt11_signing import Draft, NodeKey
from gateway.lightning.checking import fit_memo
from gateway.lightning.settings import NETWORKS, SimulatedSettings
from gateway.lightning.simulated.endpoint import Endpoint
from gateway.lightning.simulated.faults import Faults
from gateway.lightning.simulated.ledger import Ledger, LedgerInvoice
from gateway.lightning.simulated.ledger_thread import LedgerThread
from gateway.lightning.simulated.payment import Receipt, Refusal

T = TypeVar("T")

RPC_TIMEOUT_S = 5.0
MAX_EXPIRY_S = 365 * 86_400
"""As lnd."""

_POLL_S = 0.2
_WATCH_BATCH = 256
_PLAY_MONEY = "simulated Lightning node: its invoices cost play money, and nobody is paid"


class SimulatedNode:
    """A ``LightningBackend``; ``faults`` may be changed at any time.

    Several processes may use one data file, each with an endpoint of its own: a payment in one of them is seen by the
    others' ``watch`` within about 0.2 s. Faults are those of the process.
    """

    def __init__(
        self,
        settings: SimulatedSettings,
        *,
        clock: Callable[[], float] = time.time,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        faults: Faults | None = None,
        rpc_timeout_s: float = RPC_TIMEOUT_S,
    ) -> None:
        """``clock`` gives Unix seconds. Raises ``ValueError`` for mainnet and for a listen address beyond loopback."""
        if settings.network not in NETWORKS or settings.network == "mainnet":
            raise ValueError("the simulated node is play money: network must be regtest, signet or testnet")
        self.name = "simulated"
        self.network = settings.network
        self.play_money = True
        self._clock = clock
        self._random_bytes = random_bytes
        self._faults = faults or Faults()
        self._rpc_timeout_s = rpc_timeout_s
        self._ledger = LedgerThread(settings.data)
        self._endpoint = Endpoint(self, _loopback(settings.listen[0]), settings.listen[1])
        self._key: NodeKey | None = None
        self._poller: asyncio.Task[None] | None = None
        self._closed = False
        self._newest = 0
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Open the data file and the endpoint. Raises ``NodeNotReady`` saying why one of them cannot be opened."""
        if self._key is not None:
            return
        await self._ledger.open()
        try:
            fresh = _secret_key(self._random_bytes)
            secret = await self._ledger.run(lambda ledger: ledger.node_key(self.network, fresh))
            self._newest = await self._ledger.run(lambda ledger: ledger.newest_settlement())
            await self._endpoint.start()
        except BaseException:
            await self._ledger.aclose()
            raise
        self._key = NodeKey(secret)
        self._poller = asyncio.create_task(self._poll(), name="simulated-node-poll")

    @property
    def endpoint(self) -> str:
        """Where invoices are paid: ``http://127.0.0.1:PORT``. Raises ``NodeUnreachable`` before ``start``."""
        return self._endpoint.url

    @property
    def node_id(self) -> bytes:
        """The node's public key (33 bytes), kept in the data file. Raises ``NodeUnreachable`` before ``start``."""
        return self._running_key().node_id

    @property
    def faults(self) -> Faults:
        """The switches in force."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._wake_watchers()

    async def create_invoice(self, wanted: NewInvoice) -> IssuedInvoice:
        """Issue a fresh invoice, recorded before it is returned; a memo over 639 bytes is cut.

        Raises ``ValueError`` unless amount and expiry are positive, ``NodeRefusedRequest`` for more than all bitcoin
        or a year, and the outages of ``LightningBackend``.
        """
        if wanted.amount_msat <= 0 or wanted.expiry_s <= 0:
            raise ValueError("an invoice needs a positive amount and a positive expiry")
        if wanted.amount_msat > MAX_MSAT or wanted.expiry_s > MAX_EXPIRY_S:
            raise NodeRefusedRequest("the simulated node refuses an amount or an expiry this large")
        key, preimage = self._running_key(), self._random_bytes(32)
        draft = Draft(
            network=self.network,
            amount_msat=wanted.amount_msat,
            payment_hash=hashlib.sha256(preimage).digest(),
            payment_secret=self._random_bytes(32),
            description=fit_memo(wanted.memo),
            timestamp=int(self._clock()),
            expiry_s=wanted.expiry_s,
        )
        invoice = LedgerInvoice(
            payment_hash=draft.payment_hash,
            bolt11=key.sign(draft),
            amount_msat=wanted.amount_msat,
            expires_at=draft.timestamp + draft.expiry_s,
            preimage=preimage,
        )
        await self._call(lambda ledger: ledger.add(invoice))
        return IssuedInvoice(payment_hash=draft.payment_hash, bolt11=self._distorted(draft, key) or invoice.bolt11)

    async def lookup(self, payment_hash: bytes) -> InvoiceStatus:
        """See ``LightningBackend``. An unpaid invoice is forgotten a day after it expired."""
        now = self._clock()
        status = await self._call(lambda ledger: ledger.find(payment_hash, now))
        if status is None:
            raise UnknownInvoice("the simulated node does not know this payment hash")
        return status

    def watch(self, after: int) -> AsyncIterator[InvoiceStatus]:
        """See ``LightningBackend``. 0 means from now on, and now is this call, not the first step."""
        return self._settlements(after or self._newest)

    async def health(self) -> NodeHealth:
        """See ``LightningBackend``; always warns of play money."""
        try:
            await self._call(lambda ledger: ledger.newest_settlement())
        except OutageError as error:
            return NodeHealth(ready=False, detail=str(error), warnings=(_PLAY_MONEY,))
        return NodeHealth(ready=True, detail=f"simulated node on {self.network}", warnings=(_PLAY_MONEY,))

    async def pay(self, invoice: str) -> Receipt | Refusal:
        """Pay one of this node's own invoices, as the endpoint does; twice is once.

        Raises the outages of ``LightningBackend``.
        """
        try:
            payment_hash = bolt11.decode(invoice).payment_hash
        except InvoiceError:
            return Refusal.NOT_AN_INVOICE
        faults, now = self._faults, self._clock()
        outcome, newest = await self._call(
            lambda ledger: (
                ledger.pay(payment_hash, invoice.lower(), now, faults.settle_late),
                ledger.newest_settlement(),
            )
        )
        self._announce(newest)
        withheld = faults.withhold_preimage and isinstance(outcome, Receipt)
        return Refusal.WITHHELD if withheld else outcome

    async def aclose(self) -> None:
        """Stop everything; running watches end with ``NodeUnreachable``. Idempotent."""
        self._closed = True
        self._wake_watchers()
        await self._endpoint.aclose()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        await self._ledger.aclose()

    async def _call(self, job: Callable[[Ledger], T]) -> T:
        """Run a job as if over a wire: with the faults in force, and a deadline."""
        self._refuse_if_down()
        try:
            async with asyncio.timeout(self._rpc_timeout_s):
                if self._faults.slow:
                    await asyncio.sleep(self._faults.slow)
                return await self._ledger.run(job)
        except TimeoutError:
            raise NodeUnreachable(f"the simulated node gave no answer in {self._rpc_timeout_s:g} s") from None

    def _refuse_if_down(self) -> None:
        if self._closed:
            raise NodeUnreachable("the simulated node is closed")
        if self._faults.down:
            raise NodeUnreachable("the simulated node is switched off (fault: down)")

    def _running_key(self) -> NodeKey:
        if self._key is None:
            raise NodeUnreachable("the simulated node is not started")
        return self._key

    async def _settlements(self, cursor: int) -> AsyncIterator[InvoiceStatus]:
        while True:
            changed = self._changed
            batch = await self._settled_after(cursor)
            for status in batch:
                cursor = status.settle_index
                yield status
            if not batch:
                await changed.wait()

    async def _settled_after(self, cursor: int) -> list[InvoiceStatus]:
        return await self._call(lambda ledger: ledger.settled_after(cursor, _WATCH_BATCH))

    async def _poll(self) -> None:
        """Settle what is due, and see what other processes settled."""
        while True:
            await asyncio.sleep(_POLL_S)
            now = self._clock()
            # A locked or full file is reported by calls, and may pass.
            with suppress(NodeNotReady, NodeUnreachable):
                self._announce(await self._ledger.run(partial(Ledger.catch_up, now=now)))

    def _announce(self, newest: int) -> None:
        if newest > self._newest:
            self._newest = newest
            self._wake_watchers()

    def _wake_watchers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _distorted(self, draft: Draft, key: NodeKey) -> str | None:
        """The invoice that a faulty node would return instead, which is never recorded and so cannot be paid."""
        faults = self._faults
        if not (faults.wrong_amount or faults.wrong_hash):
            return None
        return key.sign(
            Draft(
                network=draft.network,
                amount_msat=Msat((draft.amount_msat or 0) + faults.wrong_amount),
                payment_hash=self._random_bytes(32) if faults.wrong_hash else draft.payment_hash,
                payment_secret=draft.payment_secret,
                description=draft.description,
                timestamp=draft.timestamp,
                expiry_s=draft.expiry_s,
            )
        )


def _loopback(host: str) -> str:
    """The address to listen on; ``ValueError`` unless only this machine can reach it."""
    if host == "localhost":
        return "127.0.0.1"
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return host
    raise ValueError("the simulated node listens on loopback only, such as 127.0.0.1: whoever reaches it can pay")


def _secret_key(random_bytes: Callable[[int], bytes]) -> bytes:
    """32 random bytes that are a valid key; all but one in 2^128 are."""
    while True:
        secret = random_bytes(32)
        try:
            NodeKey(secret)
        except ValueError:
            continue
        return secret
