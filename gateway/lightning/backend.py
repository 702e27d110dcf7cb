"""The seam to whoever issues invoices. Every backend passes ``tests/lightning/conformance``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from gateway.l402.amounts import Msat
from gateway.l402.invoice_state import InvoiceState


@dataclass(frozen=True, slots=True)
class NewInvoice:
    """What we ask the node for. ``memo`` is at most 639 bytes of UTF-8 (lnd's limit)."""

    amount_msat: Msat
    expiry_s: int
    memo: str


@dataclass(frozen=True, slots=True)
class IssuedInvoice:
    """What the node answered: not trusted until ``gateway.lightning.checking`` has decoded it."""

    payment_hash: bytes
    bolt11: str


@dataclass(frozen=True, slots=True)
class InvoiceStatus:
    """One invoice as the node knows it. ``settled_at`` is Unix seconds; ``settle_index`` is 0 until settled."""

    payment_hash: bytes
    state: InvoiceState
    amount_msat: Msat
    paid_msat: Msat
    settled_at: int | None
    settle_index: int


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """Whether the node can issue invoices now; ``detail`` tells a person why not, without secrets."""

    ready: bool
    detail: str
    warnings: tuple[str, ...] = ()


class LightningBackend(Protocol):
    """Six methods; all I/O has a deadline of its own.

    Every method raises only ``gateway.errors`` types: ``NodeUnreachable``, ``NodeNotReady``,
    ``NodeRefusedCredentials``, ``NodeRefusedRequest`` and (``lookup`` only) ``UnknownInvoice``.
    """

    name: str
    """``lnd`` or ``simulated``; stored with each invoice."""
    network: str
    """``mainnet``, ``testnet``, ``signet`` or ``regtest``."""
    play_money: bool
    """True where nobody loses money by paying."""

    async def start(self) -> None:
        """Begin background work. Never fails because the node is away (degraded start)."""

    async def create_invoice(self, wanted: NewInvoice) -> IssuedInvoice:
        """Issue a fresh invoice. ``amount_msat`` must be positive (``ValueError`` otherwise)."""

    async def lookup(self, payment_hash: bytes) -> InvoiceStatus:
        """The state of one invoice of this node. Raises ``UnknownInvoice``."""

    def watch(self, after: int) -> AsyncIterator[InvoiceStatus]:
        """Settled invoices with ``settle_index`` > ``after``, then each new one as it settles, in order, at least once.

        ``after=0`` replays nothing that is guaranteed (lnd): the caller looks pending hashes up itself after the
        iterator's first step was requested. Ends by raising a Node error when the connection is lost; the caller
        waits and calls again.
        """

    async def health(self) -> NodeHealth:
        """Never raises."""

    async def aclose(self) -> None:
        """Release everything; idempotent."""
