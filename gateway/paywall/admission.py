"""Decide about a request: from memory where that is enough, else with what the database and the node know."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway.errors import CredentialError, Fault, OutageError
from gateway.l402.amounts import Msat
from gateway.l402.credentials import Credential, credential_text, read_credentials
from gateway.l402.verification import Requirement, Verified, verify
from gateway.paywall.caches import Admitted, Caches
from gateway.paywall.decisions import ADMIT_FREE, Admit, Challenge, Decision, Refuse
from gateway.paywall.settlement import Settlements, paid_in_full
from gateway.paywall.terms import Auth, Terms
from gateway.storage.store import Store, TokenRecord

UNSETTLED_RECHECK_S = 5.0
"""How long an admission holds that rests on the signed upper bound because the settlement is not known yet."""

Headers = Sequence[tuple[str, str]]


class Admission:
    """Checks credentials against terms.

    ``strict`` asks for a settled invoice before the first use; without it the preimage alone proves payment
    (L402 L41), and the node is asked only for the moment when a time-boxed pass began.
    """

    def __init__(
        self, store: Store, settlements: Settlements, caches: Caches, *, strict: bool, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._settlements = settlements
        self._caches = caches
        self._strict = strict
        self._clock = clock

    def decide_now(self, terms: Terms, headers: Headers) -> Decision | None:
        """The decision where memory is enough, without any I/O; None where ``decide`` must be asked."""
        if terms.free:
            return ADMIT_FREE
        text = credential_text(headers)
        if text is None:
            return ADMIT_FREE if terms.auth is Auth.OPTIONAL else Challenge(Fault.MISSING)
        return self._caches.admitted(terms, text, self._clock())

    async def decide(self, terms: Terms, headers: Headers) -> Decision:
        """Admit, challenge or refuse. Raises ``OutageError`` when that cannot be known now."""
        if (decision := self.decide_now(terms, headers)) is not None:
            return decision
        # Whatever is read from here on is kept only if no revocation arrives before the decision is made.
        read_at = self._caches.generation
        presented = read_credentials(headers)
        findings = [await self._finding(credential, terms, read_at) for credential in presented.credentials]
        admitted = [finding for finding in findings if isinstance(finding, Admitted)]
        if len({one.admit.token_key for one in admitted}) > 1:
            return Refuse("ambiguous_authorization")
        if admitted:
            text = credential_text(headers)
            if text is not None:
                self._caches.remember(terms, text, admitted[0], read_at=read_at)
            return admitted[0].admit
        return _unpaid(terms, findings, malformed=presented.malformed)

    async def _finding(
        self, credential: Credential, terms: Terms, read_at: int
    ) -> Admitted | CredentialError | OutageError:
        try:
            return await self._check(credential, terms, read_at)
        except (CredentialError, OutageError) as error:
            # Another credential of this request may be good, whatever became of this one.
            return error

    async def _check(self, credential: Credential, terms: Terms, read_at: int) -> Admitted:
        records = await self._records(credential, read_at)
        verified = verify(
            credential,
            {key: record.token.root_key for key, record in records.items()},
            Requirement(terms.service, terms.tier, terms.capability, now=int(self._clock())),
        )
        price_msat = _quoted_price(verified, records, terms)
        ends: list[float] = [math.inf if verified.valid_until is None else verified.valid_until]
        recheck = math.inf
        for record in records.values():
            end, good_until = await self._paid_until(record, read_at)
            ends.append(end)
            recheck = min(recheck, good_until)
        end = min(ends)
        if self._clock() >= end:
            raise CredentialError(Fault.EXPIRED)
        admit = Admit(verified.token_keys[0], verified.token_id, price_msat, None if math.isinf(end) else int(end))
        return Admitted(admit, min(end, recheck), tuple(records))

    async def _records(self, credential: Credential, read_at: int) -> dict[bytes, TokenRecord]:
        records: dict[bytes, TokenRecord] = {}
        for key in credential.token_keys:
            record = self._caches.record(key)
            if record is None and (record := await self._store.find_token(key)) is not None:
                self._caches.keep_record(record, read_at=read_at)
            if record is not None:
                records[key] = record
        return records

    async def _paid_until(self, record: TokenRecord, read_at: int) -> tuple[float, float]:
        """(end of the pass, how long this answer holds), both Unix seconds, infinite where there is no end."""
        token, invoice = record.token, record.invoice
        if not self._settlements.same_money(invoice):
            raise CredentialError(Fault.NOT_SETTLED, "the token was paid for on another network")
        if token.valid_for_s is None and not self._strict:
            return math.inf, math.inf
        try:
            invoice = await self._settlements.current(invoice)
        except OutageError:
            # The preimage is right, so it was paid; its pass is bounded by what we signed.
            if self._strict:
                raise
        if invoice is not record.invoice:
            self._caches.keep_record(replace(record, invoice=invoice), read_at=read_at)
        if self._strict and not paid_in_full(invoice):
            raise CredentialError(Fault.NOT_SETTLED)
        if token.valid_for_s is None:
            return math.inf, math.inf
        if invoice.settled_at is not None:
            return invoice.settled_at + token.valid_for_s, math.inf
        bound = math.inf if token.valid_until is None else token.valid_until
        return bound, self._clock() + UNSETTLED_RECHECK_S


def _unpaid(terms: Terms, findings: Sequence[object], *, malformed: bool) -> Decision:
    """The decision where no credential is good. Raises the outage, if one kept us from knowing."""
    for finding in findings:
        if isinstance(finding, OutageError):
            raise finding
    if terms.auth is Auth.OPTIONAL:
        return ADMIT_FREE
    faults = [finding.fault for finding in findings if isinstance(finding, CredentialError)]
    return Challenge(faults[-1] if faults else Fault.MALFORMED if malformed else Fault.MISSING)


def _quoted_price(verified: Verified, records: dict[bytes, TokenRecord], terms: Terms) -> Msat:
    """What was paid for the token; refuses a cheap quote on a dearer route.

    A token is good on the route that it was quoted for, whatever that costs by now, and on every route of its service
    that costs no more than it did. The holder may narrow both in signed caveats; the row is the upper bound.
    """
    paid = min(record.token.price_msat for record in records.values())
    quoted = paid if verified.price_msat is None else min(paid, verified.price_msat)
    own = all(record.token.route == terms.route for record in records.values())
    if own and (verified.routes is None or terms.route in verified.routes):
        return Msat(paid)
    if quoted >= terms.price_msat:
        return Msat(paid)
    raise CredentialError(Fault.SCOPE)
