"""Every case of a client, byte for byte: whole, with a probe behind it, and cut in two at every byte."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.conformance.expectations import EXPECTATIONS
from tests.conformance.fields import FORWARDED, SYNTAX
from tests.conformance.framing import FOLLOWING, FRAMING
from tests.conformance.rows import CREDENTIAL, PROBE, SEEN_PROBE, Row, relayed
from tests.conformance.site import Site
from tests.conformance.targets import HOSTS, TARGETS
from tests.conformance.wire import Answer, Wire, together
from tests.conftest import SCALE

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROWS = [*TARGETS, *HOSTS, *SYNTAX, *FRAMING, *FORWARDED, *EXPECTATIONS, *FOLLOWING]
SHORT = 200
"""Bytes of a request that is cut at every byte; longer ones at ``CUTS`` places."""
CUTS = int(16 * SCALE)
_VARY = re.compile(rb"(Vary: Authorization)[^\r]*")


@pytest.mark.parametrize("row", ROWS, ids=str)
async def test_a_request_is_answered_as_its_row_says_however_it_arrives(row: Row, site: Site, hosts_site: Site) -> None:
    asked = hosts_site if row.hosts else site
    asked.seen.clear()
    asked.cut.clear()
    asked.log.truncate(asked.log.seek(0))
    sent = row.sent.replace(CREDENTIAL, asked.credential)
    probed = Counter(runs := _runs(row, sent))
    await _all(row, asked, runs)
    probes = 0 if row.close or row.hosts else sum(probed.values()) - 1
    expected = Counter({seen: len(runs) for seen in row.seen}) + Counter({SEEN_PROBE: probes})
    assert asked.seen == expected
    assert row.may_begin or not asked.cut
    assert "Traceback" not in asked.log.getvalue()


def _runs(row: Row, sent: bytes) -> list[tuple[bytes, ...]]:
    """The first without a probe, all others with one behind the last byte."""
    probe = b"" if row.hosts else PROBE
    places = range(1, len(sent))
    cuts = places if len(sent) <= SHORT else places[:: max(1, len(sent) // max(CUTS, 1))]
    drop_by_drop = tuple(sent[at : at + 1] for at in range(len(sent))) if len(sent) <= SHORT else (sent,)
    return [
        (sent,),
        (sent + probe,),
        (*drop_by_drop, probe) if probe else drop_by_drop,
        *((sent[:at], sent[at:] + probe) for at in cuts),
    ]


async def _all(row: Row, site: Site, runs: list[tuple[bytes, ...]]) -> None:
    waiting: Iterator[tuple[int, tuple[bytes, ...]]] = iter(enumerate(runs))

    async def work() -> None:
        for number, parts in waiting:
            await _one(row, site, parts, probed=number > 0 and not row.hosts)

    await together(work)


async def _one(row: Row, site: Site, parts: tuple[bytes, ...], *, probed: bool) -> None:
    where = f"{row}, cut after {len(parts[0])} bytes of {sum(map(len, parts))}"
    async with Wire(site.address) as wire:
        await wire.send(parts)
        for _ in range(row.before):
            first = await wire.answer()
            assert first is not None, where
            assert first.raw == relayed(), where
        answer = await _final(row, wire)
        assert answer is not None, where
        _check(row, answer, where)
        if probed and not row.close:
            probe = await wire.answer()
            assert probe is not None, where
            assert probe.raw == relayed(), where
        if not row.close:
            wire.end()
        assert await wire.rest() == b"", where


async def _final(row: Row, wire: Wire) -> Answer | None:
    answer = await wire.answer(to_head=row.to_head)
    if row.may_continue and answer is not None and answer.raw == b"HTTP/1.1 100 Continue\r\n\r\n":
        return await wire.answer(to_head=row.to_head)
    return answer


def _check(row: Row, answer: Answer, where: str) -> None:
    assert answer.status == row.status, (where, answer)
    assert answer.closes == row.close, (where, answer)
    assert answer.complete, (where, answer)
    for line in row.fields:
        assert line in answer.lines, (where, answer)
    if not row.code:
        old, paid = b"HTTP/1.0" in row.sent, b"X-L402-Service: paid" in row.seen[0]
        raw = _VARY.sub(rb"\1", answer.raw) if paid else answer.raw
        assert raw == relayed(close=row.close, to_head=row.to_head, old=old, paid=paid), (where, answer)
        return
    assert answer.values(b"server") == [b"l402-gateway"], (where, answer)
    assert answer.values(b"cache-control") == [b"no-store"], (where, answer)
    assert len(answer.values(b"date")) == 1, (where, answer)
    _check_body(row, answer, where)


def _check_body(row: Row, answer: Answer, where: str) -> None:
    """Errors are JSON, the code and nothing else: no echo of what was sent."""
    if row.code == "-" or row.to_head:
        assert answer.body == b"", (where, answer)
        return
    body = json.loads(answer.body)
    assert body["error"] == row.code, (where, answer)
    assert answer.values(b"content-type") == [b"application/json"], (where, answer)
    assert row.status == 402 or set(body) == {"error"}, (where, answer)
    assert (len(answer.values(b"www-authenticate")) == 1) == (row.status == 402), (where, answer)
