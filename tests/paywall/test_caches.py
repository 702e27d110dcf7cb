"""What is remembered: bounded, told of revocations, and silent about the secrets in it."""

from __future__ import annotations

import math
from dataclasses import replace

from gateway.l402.amounts import Msat
from gateway.paywall.bounded import BoundedMap
from gateway.paywall.caches import CREDENTIAL_LIMIT, LONGEST_TEXT, Admitted, Caches
from gateway.paywall.decisions import Admit
from tests.paywall.parties import CHEAP, DEAR, START, Shop, key_of, parts

ONE, TWO = b"\x01" * 32, b"\x02" * 32


def verified(*token_keys: bytes, good_until: float = math.inf) -> Admitted:
    return Admitted(Admit(token_keys[0], b"id", Msat(1)), good_until, token_keys)


def remember(caches: Caches, text: str, entry: Admitted) -> None:
    caches.remember(CHEAP, text, entry, read_at=caches.generation)


def test_the_least_recently_read_entry_goes_first() -> None:
    entries: BoundedMap[str, int] = BoundedMap(2)
    assert entries.put("a", 1) is None
    assert entries.put("b", 2) is None
    assert entries.get("a") == 1
    assert entries.put("c", 3) == ("b", 2)
    assert (entries.get("a"), entries.get("b"), entries.get("c"), len(entries)) == (1, None, 3, 2)


def test_a_decision_is_remembered_for_its_terms_and_its_text_only() -> None:
    caches = Caches()
    entry = verified(ONE)
    remember(caches, "text", entry)
    assert caches.admitted(CHEAP, "text", START) == entry.admit
    assert caches.admitted(DEAR, "text", START) is None
    assert caches.admitted(replace(CHEAP, price_msat=Msat(9)), "text", START) is None
    assert caches.admitted(CHEAP, "text ", START) is None


def test_a_decision_holds_until_its_moment_and_no_longer() -> None:
    caches = Caches()
    remember(caches, "text", verified(ONE, good_until=START + 1))
    assert caches.admitted(CHEAP, "text", START + 0.999) is not None
    assert caches.admitted(CHEAP, "text", START + 1) is None
    assert caches.admitted(CHEAP, "text", START) is None, "forgotten, not only passed over"


def test_a_revocation_forgets_every_decision_that_rests_on_the_token_and_no_other() -> None:
    caches = Caches()
    for text, entry in {"a": verified(ONE), "b": verified(TWO), "c": verified(TWO, ONE)}.items():
        remember(caches, text, entry)
    caches.forget_token(ONE)
    assert [caches.admitted(CHEAP, text, START) is not None for text in "abc"] == [False, True, False]


def test_a_decision_begun_before_a_revocation_is_not_remembered_after_it() -> None:
    caches = Caches()
    read_at = caches.generation
    caches.forget_token(TWO)
    caches.remember(CHEAP, "text", verified(ONE), read_at=read_at)
    assert caches.admitted(CHEAP, "text", START) is None


def test_clearing_forgets_everything_including_what_is_under_way() -> None:
    caches = Caches()
    read_at = caches.generation
    remember(caches, "text", verified(ONE))
    caches.clear()
    caches.remember(CHEAP, "later", verified(ONE), read_at=read_at)
    assert caches.admitted(CHEAP, "text", START) is None
    assert caches.admitted(CHEAP, "later", START) is None


def links(caches: Caches) -> int:
    return sum(map(len, caches._texts_of.values()))


def test_a_text_that_is_decided_anew_on_another_token_leaves_nothing_behind() -> None:
    caches = Caches()
    for _ in range(3):
        remember(caches, "text", verified(ONE))
        remember(caches, "text", verified(TWO))
    assert links(caches) == 1
    caches.forget_token(TWO)
    assert links(caches) == 0


def test_memory_is_bounded_by_the_number_and_the_length_of_what_is_kept() -> None:
    caches = Caches()
    for number in range(CREDENTIAL_LIMIT + 100):
        remember(caches, f"text {number}", verified(ONE))
    assert links(caches) == CREDENTIAL_LIMIT
    assert caches.admitted(CHEAP, "text 0", START) is None
    remember(caches, "x" * (LONGEST_TEXT + 1), verified(ONE))
    assert caches.admitted(CHEAP, "x" * (LONGEST_TEXT + 1), START) is None
    remember(caches, "x" * LONGEST_TEXT, verified(ONE))
    assert caches.admitted(CHEAP, "x" * LONGEST_TEXT, START) is not None


async def test_padding_beside_a_paid_credential_is_served_and_not_kept() -> None:
    shop = Shop()
    headers = await shop.buy(CHEAP)
    padded = [*headers, ("Authorization", "Basic l402" + "x" * LONGEST_TEXT)]
    assert isinstance(await shop.admission.decide(CHEAP, padded), Admit)
    assert links(shop.caches) == 0
    assert isinstance(await shop.admission.decide(CHEAP, headers), Admit)
    assert links(shop.caches) == 1


async def test_the_repr_of_the_caches_shows_no_secret() -> None:
    shop = Shop()
    headers = await shop.buy(CHEAP)
    await shop.admission.decide(CHEAP, headers)
    token, preimage = parts(headers)
    record = shop.caches.record(key_of(headers))
    shown = repr(shop.caches) + repr(record)
    assert token not in shown
    assert preimage.hex() not in shown
    assert repr((await shop.record(headers)).token.root_key) not in shown


def test_what_is_kept_for_some_terms_is_not_found_for_others_however_alike() -> None:
    caches = Caches()
    remember(caches, "text", verified(ONE))
    assert caches.admitted(CHEAP, "text", START) is not None
    assert caches.admitted(replace(CHEAP), "text", START) is None
    assert caches.admitted(DEAR, "text", START) is None
    for _ in range(100):  # an id that is free again must not find what was kept for its last owner
        fleeting = replace(CHEAP)
        assert caches.admitted(fleeting, "fleeting", START) is None
        caches.remember(fleeting, "fleeting", verified(ONE), read_at=caches.generation)
        assert caches.admitted(fleeting, "fleeting", START) is not None
        del fleeting
