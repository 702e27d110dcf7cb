from __future__ import annotations

import asyncio

from gateway.proxy.watch import Watch


class Waiting:
    def __init__(self, watch: Watch, looks: int) -> None:
        self.watch = watch
        self.looks = looks
        self.done = asyncio.get_running_loop().create_future()
        watch.add(self)

    def check(self, now: float) -> None:
        self.looks -= 1
        if self.looks == 0:
            self.watch.remove(self)
            self.done.set_result(now)


async def test_whoever_waits_is_asked_again_and_again() -> None:
    watch = Watch(0.001)
    first, second = Waiting(watch, 1), Waiting(watch, 3)
    async with asyncio.timeout(5):
        assert await first.done < await second.done
    # all have left: later ones are asked again all the same
    third = Waiting(watch, 2)
    async with asyncio.timeout(5):
        await third.done
    assert (first.looks, second.looks, third.looks) == (0, 0, 0)


async def test_whoever_left_is_not_asked() -> None:
    watch = Watch(0.001)
    gone, there = Waiting(watch, 1), Waiting(watch, 3)
    watch.remove(gone)
    watch.remove(gone)
    async with asyncio.timeout(5):
        await there.done
    assert gone.looks == 1


async def test_a_closed_watch_asks_nobody() -> None:
    watch, other = Watch(0.001), Watch(0.001)
    left = Waiting(watch, 1)
    watch.close()
    async with asyncio.timeout(5):
        await Waiting(other, 5).done
    assert left.looks == 1
