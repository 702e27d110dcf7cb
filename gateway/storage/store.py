"""The seam to the database: what is kept, and the few things asked of it.

Every store passes ``tests/storage/conformance``. All methods raise ``StorageUnavailable`` when the database cannot be
read or written now; a method that returned has made its change durable (SQLite: synchronous=FULL).
Times are Unix seconds (integers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState


@dataclass(frozen=True, slots=True)
class StoredInvoice:
    """An invoice we sent out. ``backend`` is the backend's name; hashes are 32 bytes."""

    payment_hash: bytes
    bolt11: str
    amount_msat: Msat
    backend: str
    created_at: int
    expires_at: int
    state: InvoiceState = InvoiceState.OPEN
    paid_msat: Msat = Msat(0)
    settled_at: int | None = None
    settle_index: int = 0


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A macaroon we minted. ``key`` is sha256(identifier); ``root_key`` is None once revoked.

    ``route`` is the id of the priced route it was quoted for, ``price_msat`` the quoted price, ``valid_for_s`` the
    length of a time-boxed pass from its settlement, ``valid_until`` the signed upper bound of that pass.
    """

    key: bytes
    identifier: bytes
    payment_hash: bytes
    root_key: bytes | None = field(repr=False)
    service: str
    tier: int
    route: str
    price_msat: Msat
    caveats: tuple[str, ...]
    valid_for_s: int | None
    valid_until: int | None
    issued_at: int
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token with the invoice that pays for it."""

    token: StoredToken
    invoice: StoredInvoice


@dataclass(frozen=True, slots=True)
class Revocation:
    """``cursor`` grows with every revocation and is what ``revocations_after`` continues from."""

    cursor: int
    key: bytes


class Store(Protocol):
    """Root keys, invoices, settlements."""

    async def save_challenge(self, token: StoredToken, invoice: StoredInvoice) -> None:
        """Make a minted token and its invoice durable, in one transaction, before the 402 leaves."""

    async def find_token(self, key: bytes) -> TokenRecord | None:
        """The token with this sha256(identifier), revoked or not; None when we never minted it."""

    async def find_invoice(self, payment_hash: bytes) -> StoredInvoice | None:
        """One invoice of ours, or None."""

    async def record_settlement(
        self, backend: str, payment_hash: bytes, *, paid_msat: Msat, settled_at: int, settle_index: int
    ) -> bool:
        """Store a settlement and raise the backend's settle index, in one transaction.

        Returns True when this invoice of ours becomes settled now. A repeated settlement changes nothing (False); so
        does one for a hash that is not ours, except that the index still rises. The index never falls.
        """

    async def record_cancellation(self, payment_hash: bytes) -> None:
        """An invoice can no longer be paid. A settled invoice stays settled."""

    async def settle_index(self, backend: str) -> int:
        """The highest settle index stored for this backend; 0 at first."""

    async def pending_invoices(
        self, backend: str, *, after: bytes = b"", limit: int = 1_000
    ) -> Sequence[StoredInvoice]:
        """OPEN or ACCEPTED invoices of a backend, ordered by payment hash, those above ``after`` only."""

    async def revoke(self, key: bytes, *, now: int) -> bool:
        """Delete the root key of a token for ever; False when unknown or already revoked."""

    async def revocations_after(self, cursor: int, *, limit: int = 1_000) -> Sequence[Revocation]:
        """Revocations made by any process since ``cursor``, oldest first."""

    async def aclose(self) -> None:
        """Release everything; idempotent."""
