"""The live view."""

import asyncio
import io

import pytest

from e2e.demo.watch import watch_while
from tests.waiting import until


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_the_jobs_result_comes_back_and_a_view_was_shown() -> None:
    shown = asyncio.Event()

    async def job() -> int:
        await shown.wait()
        return 7

    def view() -> str:
        loop.call_soon_threadsafe(shown.set)
        return "NAME\nresnet50\n"

    loop = asyncio.get_running_loop()
    stream = io.StringIO()
    assert await watch_while(job(), view, stream) == 7
    assert stream.getvalue() == "NAME\nresnet50\n"


async def test_on_a_terminal_the_next_view_takes_the_place_of_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("e2e.demo.watch.TERMINAL_PERIOD_S", 0.001)
    enough = asyncio.Event()
    views = iter(["a\nb\n", "c\n"])

    def view() -> str:
        text = next(views, None)
        if text is None:
            loop.call_soon_threadsafe(enough.set)
        return text or "end\n"

    loop = asyncio.get_running_loop()
    stream = Terminal()
    await watch_while(enough.wait(), view, stream)
    assert stream.getvalue().startswith("a\nb\n\x1b[2A\x1b[Jc\n\x1b[1A\x1b[J")


async def test_the_jobs_error_comes_through_as_it_is() -> None:
    async def job() -> None:
        raise RuntimeError("no endpoint")

    with pytest.raises(RuntimeError, match="no endpoint"):
        await watch_while(job(), lambda: "", io.StringIO())


async def test_a_broken_view_ends_the_job() -> None:
    ended = False

    async def job() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            ended = True

    def view() -> str:
        raise ValueError("no view")

    with pytest.raises(ValueError, match="no view"):
        await watch_while(job(), view, io.StringIO())
    await until(lambda: ended)
    assert ended
