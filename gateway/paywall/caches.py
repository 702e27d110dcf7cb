"""What is remembered between requests: both caches are bounded and both hear of revocations."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.paywall.bounded import BoundedMap
from gateway.paywall.decisions import Admit
from gateway.paywall.terms import Terms
from gateway.storage.store import TokenRecord

RECORD_LIMIT = 20_000
"""Tokens kept with their root key; about 1 KB each."""
CREDENTIAL_LIMIT = 20_000
"""Verified credentials kept by (terms, header text); about 1 KB each."""
LONGEST_TEXT = 4_096
"""Characters of a credential text that is kept; real ones have under 1,500. A header may have 65,536, and whoever
holds one paid token could fill the cache with variations of that length."""

CredentialKey = tuple[int, str]
"""A credential is good for certain terms only: the same text may be worth nothing on a dearer route.

Terms are told apart by identity, because hashing their values costs more than the rest of a look-up; the entry holds
them, so that no id is used again while it lives. New terms, as after a reload, find nothing and are checked in full.
"""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A positive decision: it holds until ``good_until`` (Unix seconds) or until one of its tokens is revoked."""

    admit: Admit
    good_until: float
    token_keys: tuple[bytes, ...]


@dataclass(slots=True)
class Caches:
    """Token records by sha256(identifier), verified credentials by (terms, header text)."""

    _records: BoundedMap[bytes, TokenRecord] = field(default_factory=lambda: BoundedMap(RECORD_LIMIT), repr=False)
    _admitted: BoundedMap[CredentialKey, tuple[Terms, Admitted]] = field(
        default_factory=lambda: BoundedMap(CREDENTIAL_LIMIT), repr=False
    )
    # The texts are secrets: they stay out of the repr.
    _texts_of: dict[bytes, set[CredentialKey]] = field(default_factory=dict, repr=False)
    generation: int = 0
    """Grows whenever something is forgotten: what was read before that is too old to be kept."""

    def admitted(self, terms: Terms, text: str, now: float) -> Admit | None:
        """The decision made for this credential before, while it still holds."""
        key = (id(terms), text)
        entry = self._admitted.get(key)
        if entry is None:
            return None
        if now < entry[1].good_until:
            return entry[1].admit
        self._forget(key)
        return None

    def remember(self, terms: Terms, text: str, admitted: Admitted, *, read_at: int) -> None:
        """Keep a positive decision, unless a revocation came in since ``generation`` was ``read_at``."""
        if read_at != self.generation or len(text) > LONGEST_TEXT:
            return
        key = (id(terms), text)
        self._forget(key)  # its links too: the decision before it may have rested on other tokens
        for token_key in admitted.token_keys:
            self._texts_of.setdefault(token_key, set()).add(key)
        if dropped := self._admitted.put(key, (terms, admitted)):
            self._unlink(*dropped)

    def record(self, token_key: bytes) -> TokenRecord | None:
        """A token's row as last read."""
        return self._records.get(token_key)

    def keep_record(self, record: TokenRecord, *, read_at: int) -> None:
        """Remember a token's row, unless a revocation came in since ``generation`` was ``read_at``."""
        if read_at == self.generation:
            self._records.put(record.token.key, record)

    def forget_token(self, token_key: bytes) -> None:
        """A token was revoked, or its row changed: nothing decided from it holds any more."""
        self.generation += 1
        self._records.pop(token_key)
        for key in tuple(self._texts_of.get(token_key, ())):
            self._forget(key)

    def clear(self) -> None:
        """Forget everything, as when it is unknown what was missed."""
        self.generation += 1
        self._records.clear()
        self._admitted.clear()
        self._texts_of.clear()

    def _forget(self, key: CredentialKey) -> None:
        if entry := self._admitted.pop(key):
            self._unlink(key, entry)

    def _unlink(self, key: CredentialKey, entry: tuple[Terms, Admitted]) -> None:
        for token_key in entry[1].token_keys:
            if keys := self._texts_of.get(token_key):
                keys.discard(key)
                if not keys:
                    del self._texts_of[token_key]
