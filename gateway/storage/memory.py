"""A store that forgets: for tests, of ours and of whoever builds on the paywall. Nothing here survives the process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.errors import StorageUnavailable
from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState
from gateway.storage.store import Revocation, StoredInvoice, StoredToken, TokenRecord

_PENDING = (InvoiceState.OPEN, InvoiceState.ACCEPTED)


class MemoryStore:
    """A ``Store`` in three dicts. While ``outage`` is a text, every call raises ``StorageUnavailable`` with it."""

    def __init__(self) -> None:
        self.outage: str | None = None
        self._tokens: dict[bytes, StoredToken] = {}
        self._invoices: dict[bytes, StoredInvoice] = {}
        self._settle_index: dict[str, int] = {}
        self._revocations: list[Revocation] = []

    async def save_challenge(self, token: StoredToken, invoice: StoredInvoice) -> None:
        """See ``Store``. Saving the very same again changes nothing; anything else under its keys is refused."""
        self._check()
        if token.payment_hash != invoice.payment_hash:
            raise StorageUnavailable("the token's invoice is another one")
        if token.key in self._tokens or invoice.payment_hash in self._invoices:
            if await self.find_token(token.key) != TokenRecord(token, invoice):
                raise StorageUnavailable("another token or invoice has this key")
            return
        self._invoices[invoice.payment_hash] = invoice
        self._tokens[token.key] = token

    async def find_token(self, key: bytes) -> TokenRecord | None:
        """See ``Store``."""
        self._check()
        token = self._tokens.get(key)
        return None if token is None else TokenRecord(token, self._invoices[token.payment_hash])

    async def find_invoice(self, payment_hash: bytes) -> StoredInvoice | None:
        """See ``Store``."""
        self._check()
        return self._invoices.get(payment_hash)

    async def record_settlement(
        self, backend: str, payment_hash: bytes, *, paid_msat: Msat, settled_at: int, settle_index: int
    ) -> bool:
        """See ``Store``."""
        self._check()
        self._settle_index[backend] = max(settle_index, self._settle_index.get(backend, 0))
        invoice = self._invoices.get(payment_hash)
        if invoice is None or invoice.backend != backend or invoice.state is InvoiceState.SETTLED:
            return False
        self._invoices[payment_hash] = replace(
            invoice,
            state=InvoiceState.SETTLED,
            paid_msat=paid_msat,
            settled_at=settled_at,
            settle_index=settle_index,
        )
        return True

    async def record_cancellation(self, payment_hash: bytes) -> None:
        """See ``Store``."""
        self._check()
        invoice = self._invoices.get(payment_hash)
        if invoice is not None and invoice.state in _PENDING:
            self._invoices[payment_hash] = replace(invoice, state=InvoiceState.CANCELED)

    async def settle_index(self, backend: str) -> int:
        """See ``Store``."""
        self._check()
        return self._settle_index.get(backend, 0)

    async def pending_invoices(
        self, backend: str, *, after: bytes = b"", limit: int = 1_000
    ) -> Sequence[StoredInvoice]:
        """See ``Store``."""
        self._check()
        hashes = sorted(payment_hash for payment_hash in self._invoices if payment_hash > after)
        found = (self._invoices[payment_hash] for payment_hash in hashes)
        return [invoice for invoice in found if invoice.backend == backend and invoice.state in _PENDING][:limit]

    async def revoke(self, key: bytes, *, now: int) -> bool:
        """See ``Store``."""
        self._check()
        token = self._tokens.get(key)
        if token is None or token.revoked_at is not None:
            return False
        self._tokens[key] = replace(token, root_key=None, revoked_at=now)
        self._revocations.append(Revocation(len(self._revocations) + 1, key))
        return True

    async def revocations_after(self, cursor: int, *, limit: int = 1_000) -> Sequence[Revocation]:
        """See ``Store``."""
        self._check()
        return [revocation for revocation in self._revocations if revocation.cursor > cursor][:limit]

    async def aclose(self) -> None:
        """See ``Store``; what was stored stays readable."""

    def _check(self) -> None:
        if self.outage is not None:
            raise StorageUnavailable(self.outage)
