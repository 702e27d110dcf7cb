"""Every case of an upstream, byte for byte: its answer whole, and cut in two at every byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.conformance.answers import ANSWERS, Served
from tests.conformance.rows import PROBE, SEEN_PROBE, relayed
from tests.conformance.site import SCRIPTED, Site
from tests.conformance.wire import Answer, Wire, together
from tests.proxy.raw_upstream import RawConnection

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT = 200


@pytest.mark.parametrize("row", ANSWERS, ids=str)
async def test_an_answer_becomes_what_its_row_says_however_it_arrives(row: Served, site: Site) -> None:
    site.seen.clear()
    site.log.truncate(site.log.seek(0))
    finished: asyncio.Queue[bytes] = asyncio.Queue()
    site.scripts[b"it"] = lambda connection: _serve(row, connection, finished)
    places = range(1, len(row.sent)) if row.split and len(row.sent) <= SHORT else ()
    runs = [0, 0, *places]
    await _all(row, site, iter(enumerate(runs)))
    for _ in range(len(runs) if row.end == "open" else 0):
        assert await asyncio.wait_for(finished.get(), 10) == b"", "bytes came up a connection that had to be closed"
    assert finished.empty()
    asked = sum(site.seen.values()) - site.seen[SEEN_PROBE]
    assert asked == len(runs) or (row.again and len(runs) < asked <= 2 * len(runs))
    assert site.upstream.faults == []
    assert "Traceback" not in site.log.getvalue()


async def _serve(row: Served, connection: RawConnection, finished: asyncio.Queue[bytes]) -> None:
    """The upstream: answer, then end as the row says."""
    cut = int(connection.requests[-1].request_line.split(b" ")[1].rpartition(b"/")[2])
    try:
        for _ in range(row.repeat):
            await connection.send(row.sent[:cut], row.sent[cut:])
    except ConnectionError:
        pass
    if row.end == "open":
        await finished.put(await connection.read_rest())
    elif row.end == "fin":
        connection.fin()
    elif row.end == "reset":
        connection.reset()


async def _all(row: Served, site: Site, waiting: Iterator[tuple[int, int]]) -> None:
    async def work() -> None:
        for number, place in waiting:
            await _one(row, site, place, probed=number > 0)

    await together(work)


async def _one(row: Served, site: Site, place: int, *, probed: bool) -> None:
    where = f"{row}, cut after {place} bytes of {len(row.sent)}"
    target = b"/%b%bit/%d" % (row.service, SCRIPTED, place)
    request = b"%b %b HTTP/%b\r\nHost: shop\r\n\r\n" % (row.method, target, row.version)
    async with Wire(site.address) as wire:
        await wire.send((request + (PROBE if probed else b""),))
        answer = await wire.answer(to_head=row.method == b"HEAD")
        if row.cut and (answer is None or answer.status == 200):
            _check_cut(row, answer, where)
            assert await wire.rest() == b"", where
            return
        assert answer is not None, where
        old = row.version == b"1.0"
        _check(row, answer, where)
        if probed and not (row.close or old):
            probe = await wire.answer()
            assert probe is not None, where
            assert probe.raw == relayed(), where
        wire.end()
        assert await wire.rest() == b"", where


def _check_cut(row: Served, answer: Answer | None, where: str) -> None:
    """Nobody can take what came for the whole."""
    if answer is None:  # the reset overtook it
        return
    assert not answer.complete, (where, answer)
    assert row.body.startswith(answer.body), (where, answer)
    assert not answer.raw.endswith(b"0\r\n\r\n"), (where, answer)


def _check(row: Served, answer: Answer, where: str) -> None:
    assert answer.complete, (where, answer)
    if row.cut or row.code:
        assert answer.status == (502 if row.cut else row.status), (where, answer)
        code = row.code or "bad_upstream_response"
        assert json.loads(answer.body) == {"error": code}, (where, answer)
        return
    assert answer.head == row.head, (where, answer)
    assert answer.body == row.body, (where, answer)
