"""Bytes to send, and readers that keep none."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator


def noise(size: int) -> bytes:
    block = hashlib.sha256(str(size).encode()).digest()
    return (block * (size // len(block) + 1))[:size]


def pieces(data: bytes, size: int = 30_000) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


class Flow:
    """Bytes without holding them."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.block = noise(65_536)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self.total
        while left:
            part = self.block[: min(left, len(self.block))]
            left -= len(part)
            yield part


async def discard(reader: asyncio.StreamReader, total: int) -> None:
    while total:
        data = await reader.read(min(total, 65_536))
        assert data
        total -= len(data)
