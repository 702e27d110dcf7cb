"""A client that is nothing but a socket: it sends given bytes in given pieces and reads back every byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

PATIENCE_S = 10.0
"""How long an answer may take. No case waits for it: it turns a hang into a failure."""
AT_ONCE = 32
"""Connections at a time."""
_ACCEPT_TURNS = 8
_READ_TURNS = 4


@dataclass(slots=True)
class Answer:
    """``raw`` is all of it; ``complete`` is False where the connection ended in the middle."""

    head: bytes
    body: bytes = b""
    raw: bytes = b""
    complete: bool = True

    @property
    def status(self) -> int:
        return int(self.head[9:12])

    @property
    def lines(self) -> list[bytes]:
        """Status line and fields."""
        return self.head.split(b"\r\n")[:-2]

    def values(self, name: bytes) -> list[bytes]:
        wanted = name.lower() + b":"
        return [line[len(wanted) :].strip() for line in self.lines[1:] if line.lower().startswith(wanted)]

    @property
    def closes(self) -> bool:
        return self.values(b"connection") == [b"close"]


class Wire:
    """``async with Wire(address) as wire``: one connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._held = bytearray()
        self.ended = False
        self.was_reset = False

    async def __aenter__(self) -> Wire:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._loop.sock_connect(self.socket, self._address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    async def send(self, parts: Sequence[bytes]) -> None:
        """Each part arrives at the gateway as a segment of its own. A gateway that hung up is no failure here."""
        if len(parts) > 1:
            await _turns(_ACCEPT_TURNS)
        for part in parts:
            try:
                await self._loop.sock_sendall(self.socket, part)
            except ConnectionError:
                return
            await _turns(_READ_TURNS)

    def end(self) -> None:
        """Nothing more will be sent."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.was_reset = True

    async def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next answer, interim ones too; None where the connection ended before one began."""
        head = await self._until(b"\r\n\r\n")
        if not head.endswith(b"\r\n\r\n"):
            assert not head, head
            return None
        answer = Answer(head)
        if to_head or answer.status < 200 or answer.status in {204, 304}:
            answer.raw = head
        elif answer.values(b"transfer-encoding"):
            await self._chunked(answer)
        elif length := answer.values(b"content-length"):
            answer.body = await self._exactly(int(length[0]))
            answer.complete = len(answer.body) == int(length[0])
            answer.raw = head + answer.body
        else:
            answer.body = await self.rest()
            answer.raw = head + answer.body
            answer.complete = not self.was_reset
        return answer

    async def rest(self) -> bytes:
        """Everything until the connection ends."""
        while await self._fill():
            pass
        return self._take(len(self._held))

    async def until(self, mark: bytes) -> bytes:
        """What comes, up to and with ``mark``."""
        return await self._until(mark)

    async def ends_within(self, seconds: float) -> bool:
        """Whether the gateway hangs up, without a word, within ``seconds``."""
        try:
            return await asyncio.wait_for(self._loop.sock_recv(self.socket, 1), seconds) == b""
        except TimeoutError:
            return False

    async def _chunked(self, answer: Answer) -> None:
        raw = bytearray(answer.head)
        while True:
            line = await self._until(b"\r\n")
            raw += line
            size = int(line, 16) if line.endswith(b"\r\n") else None
            piece = b"" if size is None else await self._exactly(size + 2)
            raw += piece
            answer.complete = size is not None and len(piece) == size + 2
            answer.body += piece[: size or 0]
            if not size or not answer.complete:
                break
        answer.raw = bytes(raw)

    async def _until(self, mark: bytes) -> bytes:
        while (at := self._held.find(mark)) < 0:
            if not await self._fill():
                return self._take(len(self._held))
        return self._take(at + len(mark))

    async def _exactly(self, count: int) -> bytes:
        while len(self._held) < count and await self._fill():
            pass
        return self._take(count)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    async def _fill(self) -> bool:
        if self.ended:
            return False
        try:
            data = await asyncio.wait_for(self._loop.sock_recv(self.socket, 65_536), PATIENCE_S)
        except ConnectionError:
            self.was_reset = True
            data = b""
        self.ended = not data
        self._held += data
        return bool(data)


async def together(work: Callable[[], Awaitable[None]]) -> None:
    """``AT_ONCE`` workers, all of them to their end, so that no case disturbs the next; raises the first failure."""
    outcomes = await asyncio.gather(*(work() for _ in range(AT_ONCE)), return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


async def _turns(count: int) -> None:
    """Let everybody else on this loop run: the gateway is one of them, and reads what was sent."""
    for _ in range(count):
        await asyncio.sleep(0)
