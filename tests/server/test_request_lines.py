from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import StorageUnavailable
from gateway.server.logs import RequestLog, configure_logging, redact
from gateway.server.request_lines import MOST_PENDING, SHORTEST_SECRET, RequestLine, RequestLines
from tests.server.rig import Clock, running_rig

PREIMAGE = "ab" * 32
AT = 1_700_000_000.25


def a_line(path: str = "/x", *, host: str = "a.example", service: str | None = "api") -> RequestLine:
    return RequestLine(AT, "192.0.2.1", "GET", host, path, service, "default", 200, "paid", 13, 1.26)


class CountingStream(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


async def test_the_lines_of_one_turn_of_the_loop_are_one_write_in_order() -> None:
    stream = CountingStream()
    lines = RequestLines(stream, redact)
    for number in range(3):
        lines.add(a_line(f"/{number}"))
    assert stream.writes == []
    await asyncio.sleep(0)
    assert len(stream.writes) == 1
    assert [json.loads(line)["path"] for line in stream.getvalue().splitlines()] == ["/0", "/1", "/2"]
    lines.add(a_line("/3"))
    await asyncio.sleep(0)
    assert len(stream.writes) == 2


async def test_a_line_tells_everything_once() -> None:
    stream = io.StringIO()
    lines = RequestLines(stream, redact)
    lines.add(a_line(service=None))
    lines.flush()
    assert json.loads(stream.getvalue()) == {
        "timestamp": "2023-11-14T22:13:20.250000Z",
        "level": "info",
        "event": "request",
        "client": "192.0.2.1",
        "method": "GET",
        "host": "a.example",
        "path": "/x",
        "service": None,
        "route": "default",
        "status": 200,
        "outcome": "paid",
        "bytes": 13,
        "ms": 1.3,
    }
    lines.flush()
    assert len(stream.getvalue().splitlines()) == 1


async def test_pending_lines_are_bounded() -> None:
    stream = io.StringIO()
    lines = RequestLines(stream, redact)
    for _ in range(MOST_PENDING):
        lines.add(a_line())
    assert len(stream.getvalue().splitlines()) == MOST_PENDING


@given(st.text(), st.text())
def test_whatever_a_client_sends_is_one_line_of_json(path: str, host: str) -> None:
    stream = io.StringIO()
    asyncio.run(written(stream, a_line(path, host=host)))
    (line,) = stream.getvalue().split("\n")[:-1]
    assert json.loads(line)["path"] == redact(path)
    assert json.loads(line)["host"] == redact(host)


async def written(stream: io.StringIO, line: RequestLine) -> None:
    RequestLines(stream, redact).add(line)
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "path", [f"/x/{PREIMAGE}", f"/{PREIMAGE.upper()}", f"/L402 {PREIMAGE}", "L402 12345678", "/AgE" + "A" * 60]
)
async def test_a_secret_in_a_path_is_not_written(path: str) -> None:
    stream = io.StringIO()
    RequestLines(stream, redact).add(a_line(path))
    await asyncio.sleep(0)
    assert "[redacted]" in stream.getvalue()
    assert path not in stream.getvalue()


@given(st.text(alphabet="L402 lsatBeric1a\t", max_size=SHORTEST_SECRET - 1))
def test_shorter_texts_hold_nothing_to_redact(text: str) -> None:
    assert redact(text) == text


async def test_requests_are_told_before_what_came_after_them() -> None:
    stream = io.StringIO()
    configure_logging(people=False, stream=stream)
    lines = RequestLines(stream, redact)
    lines.add(a_line())
    RequestLog(lines).interrupted(StorageUnavailable("away"), 1.0)
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "request",
        "settlements interrupted",
    ]


async def test_no_line_is_lost_when_the_server_stops(tmp_path: Path) -> None:
    async with running_rig(tmp_path, clock=Clock()) as rig:
        answers = await asyncio.gather(*(rig.get("/open/x") for _ in range(20)))
        assert {status for status, _, _ in answers} == {200}
    lines = [json.loads(line) for line in rig.log.getvalue().splitlines()]
    assert sum(line["event"] == "request" and line["path"] == "/open/x" for line in lines) == 20
