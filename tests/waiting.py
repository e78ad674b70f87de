"""Waiting for what another thread, process or task does."""

import asyncio
from collections.abc import Callable
from functools import partial

from harness.wait import wait_until as _wait_until

#: `wait_until(condition, what)`: returns once the condition holds; TimeoutError where it never does.
wait_until = partial(_wait_until, timeout_s=20.0, poll_s=0.005)


async def until(holds: Callable[[], bool]) -> None:
    """Return once the condition holds, by what other tasks do; TimeoutError where it never does."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.002)
