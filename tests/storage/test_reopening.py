"""What a store holds outlives it, and is seen by every other store on the same database."""

from __future__ import annotations

from dataclasses import replace

from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.storage.store import TokenRecord
from tests.storage.conftest import Stores
from tests.storage.samples import NOW, challenge


async def test_closing_and_opening_again_keeps_everything(stores: Stores) -> None:
    store = await stores.open()
    (token, invoice), (other, other_invoice) = challenge(), challenge()
    await store.save_challenge(token, invoice)
    await store.save_challenge(other, other_invoice)
    await store.record_settlement(
        "lnd", invoice.payment_hash, paid_msat=Msat(10_001), settled_at=NOW + 1, settle_index=12
    )
    await store.revoke(other.key, now=NOW + 2)
    announced = await store.revocations_after(0)
    await store.aclose()

    again = await stores.open()
    settled = replace(invoice, state=InvoiceState.SETTLED, paid_msat=Msat(10_001), settled_at=NOW + 1, settle_index=12)
    assert await again.find_token(token.key) == TokenRecord(token, settled)
    assert await again.find_token(other.key) == TokenRecord(
        replace(other, root_key=None, revoked_at=NOW + 2), other_invoice
    )
    assert await again.settle_index("lnd") == 12
    assert await again.revocations_after(0) == announced


async def test_what_one_store_saved_another_finds_at_once(stores: Stores) -> None:
    one, two = await stores.open(), await stores.open()
    token, invoice = challenge()
    await one.save_challenge(token, invoice)
    assert await two.find_token(token.key) == TokenRecord(token, invoice)
    assert await two.revoke(token.key, now=NOW) is True
    assert await one.revoke(token.key, now=NOW) is False
    assert [revocation.key for revocation in await one.revocations_after(0)] == [token.key]
