"""Any sequence of calls leaves SQLite and the store in memory saying the same."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.errors import StorageUnavailable
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.storage.memory import MemoryStore
from gateway.storage.opening import open_store
from gateway.storage.store import Store
from tests.conftest import SCALE
from tests.storage.samples import NOW, challenge

NUMBERS = st.integers(0, 5)
BACKENDS = st.sampled_from(["lnd", "simulated"])
STATES = st.sampled_from([InvoiceState.OPEN, InvoiceState.ACCEPTED, InvoiceState.CANCELED])


class Stores(RuleBasedStateMachine):
    """Few keys, so that calls meet each other."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.memory = MemoryStore()
        self.sqlite = self.open()

    def open(self) -> Store:
        return self.runner.run(open_store(f"sqlite:///{self.folder.name}/gateway.db", clock=lambda: NOW))

    def both(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        async def answer(store: Store) -> Any:
            try:
                return await call(store)
            except StorageUnavailable:
                return StorageUnavailable

        expected = self.runner.run(answer(self.memory))
        assert self.runner.run(answer(self.sqlite)) == expected
        return expected

    @rule(number=NUMBERS, hash_of=NUMBERS, backend=BACKENDS, state=STATES)
    def save(self, number: int, hash_of: int, backend: str, state: InvoiceState) -> None:
        token, _ = challenge(number)
        _, invoice = challenge(hash_of, backend=backend, state=state)
        self.both(lambda store: store.save_challenge(token, invoice))

    @rule(number=NUMBERS, state=STATES)
    def save_properly(self, number: int, state: InvoiceState) -> None:
        self.both(lambda store: store.save_challenge(*challenge(number, state=state)))

    @rule(number=NUMBERS, backend=BACKENDS, index=st.integers(0, 9), paid=st.integers(0, 99))
    def settle(self, number: int, backend: str, index: int, paid: int) -> None:
        payment_hash = challenge(number)[1].payment_hash
        self.both(
            lambda store: store.record_settlement(
                backend, payment_hash, paid_msat=Msat(paid), settled_at=NOW + index, settle_index=index
            )
        )

    @rule(number=NUMBERS)
    def cancel(self, number: int) -> None:
        self.both(lambda store: store.record_cancellation(challenge(number)[1].payment_hash))

    @rule(number=NUMBERS)
    def revoke(self, number: int) -> None:
        self.both(lambda store: store.revoke(challenge(number)[0].key, now=NOW + number))

    @rule(number=NUMBERS)
    def find(self, number: int) -> None:
        token, invoice = challenge(number)
        self.both(lambda store: store.find_token(token.key))
        self.both(lambda store: store.find_invoice(invoice.payment_hash))

    @rule(backend=BACKENDS, after=NUMBERS, limit=st.integers(1, 3))
    def page(self, backend: str, after: int, limit: int) -> None:
        above = challenge(after)[1].payment_hash

        async def page(store: Store) -> list[Any]:
            return list(await store.pending_invoices(backend, after=above, limit=limit))

        self.both(page)

    @rule()
    def restart(self) -> None:
        self.runner.run(self.sqlite.aclose())
        self.sqlite = self.open()

    @invariant()
    def the_same_revocations_and_indexes(self) -> None:
        async def keys(store: Store) -> list[bytes]:
            return [revocation.key for revocation in await store.revocations_after(0)]

        self.both(keys)
        self.both(lambda store: store.settle_index("lnd"))
        self.both(lambda store: store.settle_index("simulated"))

    def teardown(self) -> None:
        self.runner.run(self.sqlite.aclose())
        self.runner.close()
        self.folder.cleanup()


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=max(2, int(12 * SCALE)), stateful_step_count=30)
