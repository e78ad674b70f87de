"""A live view in the terminal."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TextIO, TypeVar

T = TypeVar("T")

#: A view costs a kubectl call on a machine that is busy serving.
TERMINAL_PERIOD_S = 2.0
LOG_PERIOD_S = 15.0


async def watch_while(job: Coroutine[Any, Any, T], view: Callable[[], str], stream: TextIO) -> T:
    """Show `view` again and again until `job` is done, and return its result.

    Each view takes the place of the last one where `stream` is a terminal.
    """
    terminal = stream.isatty()
    shown = 0
    task = asyncio.create_task(job)
    try:
        while not task.done():
            text = (await asyncio.to_thread(view)).rstrip("\n") + "\n"
            stream.write((f"\x1b[{shown}A\x1b[J" if terminal and shown else "") + text)
            stream.flush()
            shown = text.count("\n")
            await asyncio.wait([task], timeout=TERMINAL_PERIOD_S if terminal else LOG_PERIOD_S)
    finally:
        task.cancel()
    return await task
