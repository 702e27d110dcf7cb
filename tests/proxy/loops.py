"""Run a test on both event loops."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test on asyncio's loop and on uvloop, which differ in how they write and fail."""

    def run(loop: str, **arguments: Any) -> None:
        factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop

        async def bounded() -> None:
            await test(**arguments)

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(bounded())

    parameters = [inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    parameters += inspect.signature(test).parameters.values()
    functools.update_wrapper(run, test)
    del run.__dict__["__wrapped__"]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    parametrized: Callable[..., None] = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])(run)
    return parametrized
