from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from gateway.client import FileTokenStore, Source, Token
from gateway.client.token_file import default_token_file
from gateway.client.tokens import MAX_RECORDS_PER_ORIGIN, guess, matching, unfinished
from gateway.errors import BuyerError
from gateway.l402.amounts import Msat
from tests.client.seller import Seller, running_buyer

ORIGIN = "https://api.example.com:443"
NOW = 1_800_000_000


def _token(name: str = "m", **given: object) -> Token:
    facts: dict[str, object] = {
        "origin": ORIGIN,
        "path": "/a/b",
        "macaroon": name,
        "scheme": "L402",
        "invoice": "lnbcrt1",
        "payment_hash": bytes(32),
        "price_msat": Msat(1),
        "created_at": NOW,
        "invoice_expires_at": NOW + 600,
        "scope": ("services=a:0",),
        "preimage": b"\x07" * 32,
    }
    return Token(**{**facts, **given})  # type: ignore[arg-type]


def _store(path: Path) -> FileTokenStore:
    return FileTokenStore(path, clock=lambda: NOW)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_what_was_put_is_read_back_by_another_store(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    tokens = [_token("a"), _token("b", preimage=None, expires_at=NOW + 9, worked_on=("/x",)), _token("c", origin="o")]
    for token in tokens:
        await _store(path).put(token)
    await _store(path).put(tokens[0].accepted_on("/new"))
    assert await _store(path).load(ORIGIN) == (tokens[0].accepted_on("/new"), tokens[1])
    await _store(path).remove(tokens[0])
    assert await _store(path).load(ORIGIN) == (tokens[1],)


async def test_the_file_is_0600_in_a_folder_of_0700_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "fresh" / "tokens.json"
    before = os.umask(0)
    try:
        await _store(path).put(_token())
    finally:
        os.umask(before)
    assert (_mode(path), _mode(path.parent)) == (0o600, 0o700)
    assert all(_mode(entry) == 0o600 for entry in path.parent.iterdir())


async def test_a_loose_file_is_tightened_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    await _store(path).put(_token())
    path.chmod(0o644)
    await _store(path).load(ORIGIN)
    assert _mode(path) == 0o600


async def test_the_default_file_lies_in_the_data_home_and_its_folder_is_tightened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_token_file() == tmp_path / "l402-gateway" / "tokens.json"
    default_token_file().parent.mkdir(mode=0o755)
    await FileTokenStore().put(_token(expires_at=None))
    assert _mode(default_token_file().parent) == 0o700
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_token_file().is_absolute()


async def test_a_folder_of_the_users_choice_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    await _store(tmp_path / "tokens.json").put(_token())
    assert _mode(tmp_path) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of somebody else")
async def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    await _store(path).put(_token())
    os.chown(path, 12345, 12345)
    with pytest.raises(BuyerError, match="not a file of yours"):
        await _store(path).load(ORIGIN)


DAMAGED = ["", "{", "[]", "{}", '{"version": 1}', '{"version": 1, "tokens": [{}]}', '{"version": 2, "tokens": []}']


@pytest.mark.parametrize("content", DAMAGED)
async def test_a_damaged_or_foreign_file_is_reported_and_never_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(content)
    for attempt in (_store(path).load(ORIGIN), _store(path).put(_token())):
        with pytest.raises(BuyerError) as caught:
            await attempt
        assert caught.value.code == "token_file"
    assert path.read_text() == content


async def test_an_unwritable_place_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BuyerError, match="File exists"):
        await _store(tmp_path / "file" / "tokens.json").put(_token())


async def test_a_symbolic_link_keeps_pointing_to_the_file(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    link = tmp_path / "tokens.json"
    await _store(real).put(_token("a"))
    link.symlink_to(real)
    await _store(link).put(_token("b"))
    assert link.is_symlink()
    assert len(await _store(real).load(ORIGIN)) == 2


async def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    script = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from tests.client.test_token_file import _store, _token\n"
        "async def main():\n"
        "    for number in range(10):\n"
        "        await _store(Path(sys.argv[1])).put(_token(f'{sys.argv[2]}-{number}'))\n"
        "asyncio.run(main())\n"
    )
    running = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(path), name) for name in ("a", "b", "c")
    ]
    assert [await process.wait() for process in running] == [0, 0, 0]
    assert len(await _store(path).load(ORIGIN)) == 30


async def test_dead_records_leave_the_file_and_others_give_way_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    await _store(path).put(_token("dead", expires_at=NOW))
    await _store(path).put(_token("abandoned", preimage=None, created_at=NOW - 31 * 86_400, invoice_expires_at=0))
    await _store(path).put(_token("first"))
    assert [token.macaroon for token in await _store(path).load(ORIGIN)] == ["first"]
    raw = json.loads(path.read_text())
    raw["tokens"] = [{**raw["tokens"][0], "macaroon": f"m{number}"} for number in range(MAX_RECORDS_PER_ORIGIN)]
    path.write_text(json.dumps(raw))
    await _store(path).put(_token("last"))
    kept = [token.macaroon for token in await _store(path).load(ORIGIN)]
    assert (len(kept), kept[0], kept[-1]) == (MAX_RECORDS_PER_ORIGIN, "m1", "last")


CRASHING_BUYER = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.client import Budget, Buyer, FileTokenStore
from gateway.l402.amounts import Msat
from gateway.lightning.simulated import SimulatedPayer

class DiesAfterPaying(SimulatedPayer):
    async def pay(self, bolt11, *, max_fee_msat, timeout_s):
        await super().pay(bolt11, max_fee_msat=max_fee_msat, timeout_s=timeout_s)
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    url, node, tokens = sys.argv[1:]
    buyer = Buyer(DiesAfterPaying(node), budget=Budget(Msat(100_000)), tokens=FileTokenStore(Path(tokens)),
                  networks={"regtest"})
    async with buyer.get(url):
        pass

asyncio.run(main())
"""


async def test_a_kill_between_paying_and_storing_loses_nothing_and_pays_nothing_twice(
    seller: Seller, tmp_path: Path
) -> None:
    path = tmp_path / "own" / "tokens.json"
    url = f"{seller.base}/weather/now"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CRASHING_BUYER, url, seller.node.endpoint, str(path)
    )
    assert await process.wait() == -signal.SIGKILL
    assert await seller.payments() == 1
    async with running_buyer(seller, store=FileTokenStore(path)) as buyer:
        async with buyer.get(url) as answer:
            assert (answer.status, answer.purchase.source) == (200, Source.RESUMED)
        async with buyer.get(url) as answer:
            assert answer.purchase.source is Source.TOKEN
    assert await seller.payments() == 1


async def test_two_processes_that_want_the_same_thing_pay_once(seller: Seller, tmp_path: Path) -> None:
    script = CRASHING_BUYER.replace("os.kill(os.getpid(), signal.SIGKILL)", "return await super().pay(bolt11, max_fee_msat=max_fee_msat, timeout_s=timeout_s)")  # fmt: skip  # noqa: E501
    arguments = (f"{seller.base}/weather/now", seller.node.endpoint, str(tmp_path / "own" / "tokens.json"))
    running = [await asyncio.create_subprocess_exec(sys.executable, "-c", script, *arguments) for _ in range(3)]
    assert [await process.wait() for process in running] == [0, 0, 0]
    assert await seller.payments() == 1


GUESSES = [
    ("/a/b", "exact", "the same path"),
    ("/a/b/c", "exact", "below it"),
    ("/a/x", "exact", "a common segment; the newer of two equals"),
    ("/other/y", "other", "another service"),
    ("/new/one", "new", "where it worked, not only where it was bought"),
    ("/ab", None, "segments are whole"),
    ("/", None, "the root has nothing in common with others"),
    ("/elsewhere", None, "nothing is sent on a mere chance"),
]


@pytest.mark.parametrize(("path", "expected", "why"), GUESSES, ids=[why for _, _, why in GUESSES])
def test_the_first_token_to_try_is_the_one_that_worked_nearest(path: str, expected: str | None, why: str) -> None:
    known = [
        _token("old", path="/a/z", created_at=NOW - 9),
        _token("exact", path="/a/b"),
        _token("other", path="/other/x", worked_on=("/new/one",)),
        _token("new", path="/q", worked_on=("/new/one",), created_at=NOW + 1),
        _token("pending", path=path, preimage=None, created_at=NOW + 5),
        _token("dead", path=path, expires_at=NOW, created_at=NOW + 5),
    ]
    found = guess(known, path, NOW)
    assert (found.macaroon if found else None) == expected


def test_the_root_path_knows_itself() -> None:
    assert guess([_token(path="/")], "/", NOW) is not None
    assert guess([_token(path="/")], "//x", NOW) is None


def test_an_offer_is_matched_by_scope_or_path_and_never_tried_twice() -> None:
    by_scope, by_path = _token("scope", path="/q"), _token("path", path="/p", scope=("other",), created_at=NOW - 1)
    known = [by_scope, by_path]
    assert matching(known, "/p", ("services=a:0",), NOW, tried=[]) == by_scope
    assert matching(known, "/p", ("services=a:0",), NOW, tried=[by_scope.key]) == by_path
    assert matching(known, "/p", ("services=a:0",), NOW, tried=[by_scope.key, by_path.key]) is None
    assert matching([_token(scope=())], "/elsewhere", (), NOW, tried=[]) is None


def test_only_a_purchase_of_the_same_thing_at_the_same_price_is_resumed() -> None:
    pending = _token("p", preimage=None)
    assert unfinished([pending], "/a/b", (), Msat(1), NOW) == pending
    assert unfinished([pending], "/q", ("services=a:0",), Msat(1), NOW) == pending
    assert unfinished([pending], "/a/b", ("services=a:0",), Msat(2), NOW) is None
    assert unfinished([pending], "/q", ("other",), Msat(1), NOW) is None
    assert unfinished([_token()], "/a/b", ("services=a:0",), Msat(1), NOW) is None


def test_a_pending_purchase_has_no_credential() -> None:
    with pytest.raises(ValueError, match="not paid"):
        _ = _token(preimage=None).authorization
