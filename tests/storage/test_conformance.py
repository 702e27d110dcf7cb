"""What every store promises: memory, SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.errors import StorageUnavailable
from gateway.l402.amounts import MAX_MSAT, Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.storage.store import Revocation, Store, StoredInvoice, TokenRecord
from tests.storage.samples import NOW, challenge, digest

PAID = Msat(10_000)


async def settle(store: Store, payment_hash: bytes, index: int = 7, backend: str = "lnd") -> bool:
    return await store.record_settlement(backend, payment_hash, paid_msat=PAID, settled_at=NOW + 30, settle_index=index)


async def test_a_saved_challenge_is_found_by_its_key_and_by_its_hash(store: Store) -> None:
    token, invoice = challenge()
    await store.save_challenge(token, invoice)
    assert await store.find_token(token.key) == TokenRecord(token, invoice)
    assert await store.find_invoice(invoice.payment_hash) == invoice


async def test_every_field_comes_back_as_it_was(store: Store) -> None:
    token, invoice = challenge(
        amount_msat=Msat(MAX_MSAT),
        paid_msat=Msat(MAX_MSAT),
        state=InvoiceState.SETTLED,
        settled_at=2**40,
        settle_index=2**62,
        expires_at=2**40,
    )
    token = replace(
        token, caveats=(), valid_for_s=None, valid_until=None, tier=255, price_msat=Msat(0), service="sér vice"
    )
    await store.save_challenge(token, invoice)
    record = await store.find_token(token.key)
    assert record == TokenRecord(token, invoice)
    assert isinstance(record.token.caveats, tuple)
    assert isinstance(record.token.root_key, bytes)
    assert record.invoice.state is InvoiceState.SETTLED


async def test_what_was_never_saved_is_not_found(store: Store) -> None:
    assert await store.find_token(digest("nobody")) is None
    assert await store.find_invoice(digest("nobody")) is None
    assert await store.find_token(b"") is None


async def test_saving_the_very_same_challenge_again_changes_nothing(store: Store) -> None:
    token, invoice = challenge()
    await store.save_challenge(token, invoice)
    await store.save_challenge(token, invoice)
    assert list(await store.pending_invoices("lnd")) == [invoice]


@pytest.mark.parametrize("what", ["other root key", "same hash under another token", "other amount"])
async def test_another_challenge_under_a_used_key_is_refused_and_leaves_no_trace(store: Store, what: str) -> None:
    token, invoice = challenge(1)
    await store.save_challenge(token, invoice)
    fresh, fresh_invoice = challenge(2)
    twin, twin_invoice = {
        "other root key": (replace(token, root_key=digest("other")), invoice),
        "same hash under another token": (replace(fresh, payment_hash=token.payment_hash), invoice),
        "other amount": (token, replace(invoice, amount_msat=Msat(1))),
    }[what]
    with pytest.raises(StorageUnavailable):
        await store.save_challenge(twin, twin_invoice)
    assert await store.find_token(token.key) == TokenRecord(token, invoice)
    assert await store.find_token(fresh.key) is None
    assert await store.find_invoice(fresh_invoice.payment_hash) is None


async def test_a_token_whose_invoice_is_another_one_is_refused_with_both_rows(store: Store) -> None:
    earlier = challenge(1)
    await store.save_challenge(*earlier)
    token, invoice = challenge(2)
    with pytest.raises(StorageUnavailable):
        await store.save_challenge(replace(token, payment_hash=earlier[1].payment_hash), invoice)
    assert await store.find_token(token.key) is None
    assert await store.find_invoice(invoice.payment_hash) is None


async def test_a_settlement_is_recorded_with_its_index_and_only_once(store: Store) -> None:
    token, invoice = challenge()
    await store.save_challenge(token, invoice)
    assert await settle(store, invoice.payment_hash, index=7) is True
    settled = await store.find_invoice(invoice.payment_hash)
    assert settled == replace(invoice, state=InvoiceState.SETTLED, paid_msat=PAID, settled_at=NOW + 30, settle_index=7)
    assert await store.settle_index("lnd") == 7
    again = await store.record_settlement(
        "lnd", invoice.payment_hash, paid_msat=Msat(1), settled_at=NOW + 99, settle_index=9
    )
    assert again is False
    assert await store.find_invoice(invoice.payment_hash) == settled
    assert await store.settle_index("lnd") == 9


async def test_the_settle_index_never_falls_and_is_kept_per_backend(store: Store) -> None:
    assert await store.settle_index("lnd") == 0
    for index, expected in ((5, 5), (3, 5), (0, 5), (2**40, 2**40), (6, 2**40)):
        await settle(store, digest("foreign", index), index)
        assert await store.settle_index("lnd") == expected
    assert await store.settle_index("simulated") == 0


async def test_a_settlement_for_a_hash_that_is_not_ours_only_raises_the_index(store: Store) -> None:
    token, invoice = challenge()
    await store.save_challenge(token, invoice)
    assert await settle(store, digest("foreign"), 3) is False
    assert await store.find_invoice(digest("foreign")) is None
    assert await settle(store, invoice.payment_hash, 4, backend="simulated") is False
    assert await store.find_invoice(invoice.payment_hash) == invoice
    assert (await store.settle_index("lnd"), await store.settle_index("simulated")) == (3, 4)


async def test_a_cancellation_never_unsettles(store: Store) -> None:
    token, invoice = challenge()
    await store.save_challenge(token, invoice)
    await settle(store, invoice.payment_hash)
    settled = await store.find_invoice(invoice.payment_hash)
    await store.record_cancellation(invoice.payment_hash)
    assert await store.find_invoice(invoice.payment_hash) == settled


async def test_a_cancelled_invoice_is_no_longer_pending_but_the_node_may_still_say_settled(store: Store) -> None:
    token, invoice = challenge()
    await store.save_challenge(token, invoice)
    await store.record_cancellation(invoice.payment_hash)
    await store.record_cancellation(digest("nobody"))
    assert await store.find_invoice(invoice.payment_hash) == replace(invoice, state=InvoiceState.CANCELED)
    assert list(await store.pending_invoices("lnd")) == []
    assert await settle(store, invoice.payment_hash) is True


async def test_pending_invoices_are_paged_by_hash_and_of_one_backend_only(store: Store) -> None:
    mine = [challenge(n, state=(InvoiceState.OPEN, InvoiceState.ACCEPTED)[n % 2]) for n in range(7)]
    others = [challenge(10, backend="simulated"), challenge(11, state=InvoiceState.CANCELED), challenge(12)]
    for token, invoice in [*mine, *others]:
        await store.save_challenge(token, invoice)
    await settle(store, others[2][1].payment_hash)
    expected = sorted((invoice for _, invoice in mine), key=lambda invoice: invoice.payment_hash)
    found: list[StoredInvoice] = []
    after = b""
    while page := await store.pending_invoices("lnd", after=after, limit=3):
        assert len(page) <= 3
        found += page
        after = page[-1].payment_hash
    assert found == expected
    assert list(await store.pending_invoices("lnd")) == expected


async def test_a_revoked_token_loses_its_root_key_for_ever(store: Store) -> None:
    token, invoice = challenge()
    await store.save_challenge(token, invoice)
    assert await store.revoke(token.key, now=NOW + 5) is True
    assert await store.find_token(token.key) == TokenRecord(replace(token, root_key=None, revoked_at=NOW + 5), invoice)
    assert await store.revoke(token.key, now=NOW + 6) is False
    assert await store.revoke(digest("nobody"), now=NOW) is False
    with pytest.raises(StorageUnavailable):
        await store.save_challenge(token, invoice)
    record = await store.find_token(token.key)
    assert record is not None
    assert (record.token.root_key, record.token.revoked_at) == (None, NOW + 5)


async def test_each_revocation_is_announced_once_oldest_first(store: Store) -> None:
    keys = []
    for _ in range(5):
        token, invoice = challenge()
        await store.save_challenge(token, invoice)
        await store.revoke(token.key, now=NOW)
        await store.revoke(token.key, now=NOW)
        keys.append(token.key)
    seen: list[Revocation] = []
    while page := await store.revocations_after(seen[-1].cursor if seen else 0, limit=2):
        assert len(page) <= 2
        seen += page
    assert [revocation.key for revocation in seen] == keys
    assert [revocation.cursor for revocation in seen] == sorted({revocation.cursor for revocation in seen})


async def test_two_hundred_challenges_at_once_are_all_there(store: Store) -> None:
    challenges = [challenge() for _ in range(200)]
    await asyncio.gather(*(store.save_challenge(*one) for one in challenges))
    for token, invoice in challenges:
        assert await store.find_token(token.key) == TokenRecord(token, invoice)


async def test_of_many_settlements_of_one_invoice_at_once_one_is_the_first(store: Store) -> None:
    token, invoice = challenge()
    await store.save_challenge(token, invoice)
    answers = await asyncio.gather(*(settle(store, invoice.payment_hash, index) for index in range(1, 21)))
    assert answers.count(True) == 1
    assert await store.settle_index("lnd") == 20


async def test_of_many_revocations_of_one_token_at_once_one_counts(store: Store) -> None:
    token, invoice = challenge()
    await store.save_challenge(token, invoice)
    answers = await asyncio.gather(*(store.revoke(token.key, now=NOW) for _ in range(20)))
    assert answers.count(True) == 1
    assert len(await store.revocations_after(0)) == 1


async def test_a_caller_that_hangs_up_breaks_nothing_for_the_others(store: Store) -> None:
    challenges = [challenge() for _ in range(60)]
    calls = [asyncio.ensure_future(store.save_challenge(*one)) for one in challenges]
    calls += [asyncio.ensure_future(store.find_token(one[0].key)) for one in challenges]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    for token, invoice in challenges[1::2]:
        assert await store.find_token(token.key) == TokenRecord(token, invoice)


async def test_a_root_key_is_in_no_repr(store: Store) -> None:
    token, invoice = challenge()
    await store.save_challenge(token, invoice)
    record = await store.find_token(token.key)
    assert token.root_key is not None
    assert repr(token.root_key) not in repr(record)


async def test_closing_twice_is_closing(store: Store) -> None:
    await store.aclose()
    await store.aclose()
