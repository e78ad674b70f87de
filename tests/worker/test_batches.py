import asyncio
import logging
import time
from collections.abc import Callable
from itertools import count
from queue import SimpleQueue
from threading import Barrier, current_thread
from types import SimpleNamespace

import numpy as np
import pytest

from kneescale.core.units import NS_PER_S
from kneescale_worker import batches
from kneescale_worker.batches import Batch, BatchRun, BatchRunner
from kneescale_worker.errors import BatchFailedError, ContextLostError, HungError, UnavailableError
from kneescale_worker.metrics import Metrics
from kneescale_worker.queue import ItemQueue, Request
from kneescale_worker.tensors import Array
from tests.waiting import until
from tests.worker.fake_executor import DoublingExecutor

LANES = 2


class _Rig:
    """A runner around the fake executor."""

    def __init__(self) -> None:
        self.executor = DoublingExecutor()
        self.queue = ItemQueue(limit=100)
        self.metrics = Metrics("m", "cpu", "cpu")
        self.runner = BatchRunner(self.executor, (100 // LANES, 100), self.queue, self.metrics)

    def push(self, *rows: float) -> Request:
        request = Request([np.array([[value, value] for value in rows], np.float32)], 0)
        self.queue.push(request)
        return request

    async def run(self, gpu_percent: int, batch: int) -> BatchRun:
        return await self.runner.run(gpu_percent, self.queue.take(batch))


async def test_a_batch_spans_requests_and_leaves_their_inputs_alone() -> None:
    rig = _Rig()
    first, second = rig.push(1, 2), rig.push(3, 4)
    (sent,) = first.inputs
    run = await rig.run(50, 3)
    assert rig.executor.batches == [(50, 3)]
    assert run.ended_ns >= run.started_ns
    assert (await first.answer)[0][:, 0].tolist() == [2, 4]
    assert sent[:, 0].tolist() == [1, 2]
    assert not second.answer.done()
    await rig.run(100, 3)
    assert (await second.answer)[0][:, 0].tolist() == [6, 8]


async def test_a_failed_batch_fails_its_requests_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    rig = _Rig()
    good, bad, mate, later = rig.push(1), rig.push(-1), rig.push(2), rig.push(3)
    with caplog.at_level(logging.CRITICAL, "kneescale_worker"):
        for batch in (1, 2, 1):
            await rig.run(100, batch)
    assert (await good.answer)[0].tolist() == [[2, 2]]
    assert (await later.answer)[0].tolist() == [[6, 6]]
    for request in (bad, mate):
        with pytest.raises(BatchFailedError):
            await request.answer


async def test_a_worker_whose_context_is_lost_is_to_end() -> None:
    rig = _Rig()
    request = rig.push(1)

    def lose_context() -> None:
        raise ContextLostError("device-side assert triggered")

    rig.executor.before_run = lose_context
    await rig.run(100, 1)
    with pytest.raises(BatchFailedError):
        await request.answer
    with pytest.raises(ContextLostError, match="device-side assert"):
        await asyncio.wait_for(rig.runner.watch(), timeout=5)


async def test_a_worker_of_which_every_batch_fails_is_to_end_though_its_context_stands(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig, seconds = _Rig(), count()
    # Each look at the clock is a second later.
    monkeypatch.setattr(batches, "time", SimpleNamespace(monotonic_ns=lambda: next(seconds) * NS_PER_S))
    requests = [rig.push(value) for value in (-1, 1, *([-1] * 30))]
    with caplog.at_level(logging.CRITICAL, "kneescale_worker"):
        for _ in requests:
            await rig.run(100, 1)
    with pytest.raises(ContextLostError, match=r"^30 batches in a row .* the last with: a negative value$"):
        await asyncio.wait_for(rig.runner.watch(), timeout=5)
    await asyncio.gather(*(request.answer for request in requests), return_exceptions=True)


@pytest.mark.parametrize(
    "garble",
    [
        lambda rows: [rows[:-1]],
        lambda rows: [rows[:, 1:]],
        lambda rows: [rows.astype(np.float64)],
        lambda rows: [np.float32(len(rows))],
        lambda rows: [rows, rows],
    ],
    ids=["a row too few", "another width", "another dtype", "no rows", "an output too many"],
)
async def test_an_answer_that_is_not_as_the_metadata_says_fails_its_batch(
    garble: Callable[[Array], list[Array]],
) -> None:
    """Its rows could go to the wrong requests, or not be joined with those of other batches."""
    rig = _Rig()
    cut, mate = rig.push(1, 2, 3), rig.push(4)
    await rig.run(100, 2)
    rig.executor.garble = garble
    await rig.run(100, 2)
    for request in (cut, mate):
        async with asyncio.timeout(5):
            with pytest.raises(BatchFailedError):
                await request.answer


async def test_the_sms_of_lanes_are_shown_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    rig = _Rig()
    rig.executor.lane_sms = {50: 40, 100: 80}
    with caplog.at_level(logging.INFO, "kneescale_worker"):
        await rig.runner.load()
    labels = 'backend="cpu",device="cpu",gpu_percent="50",model="m"'
    assert f"kneescale_worker_lane_sms{{{labels}}} 40.0" in rig.metrics.render().decode()
    assert "the lane of 100 GPU% has 80 SMs" in caplog.text


async def test_nothing_to_run_takes_no_time() -> None:
    rig = _Rig()
    run = await rig.run(100, 4)
    assert run.started_ns == run.ended_ns
    assert rig.executor.batches == []


async def test_closing_refuses_what_waits_and_what_does_not_end() -> None:
    rig = _Rig()
    running, waiting = rig.push(1), rig.push(2)
    together = Barrier(2)
    rig.executor.before_run = lambda: (together.wait(timeout=10), together.wait(timeout=10))
    over = asyncio.create_task(rig.run(100, 1))
    await asyncio.to_thread(together.wait)
    await rig.runner.close()
    for request in (running, waiting):
        with pytest.raises(UnavailableError):
            await request.answer
    await asyncio.to_thread(together.wait)
    await over


async def test_a_batch_behind_another_runs_on_its_thread_and_behind_one_that_ended_not_at_all() -> None:
    rig = _Rig()
    requests, granted = [rig.push(value) for value in range(3)], SimpleQueue[Batch | None]()
    first, second, third = (Batch(50, rig.queue.take(1), finish_by_ns=0) for _ in requests)
    threads = list[str]()
    together = Barrier(2)

    def note() -> None:
        threads.append(current_thread().name)
        if len(threads) == 1:
            together.wait(timeout=10)
            together.wait(timeout=10)

    rig.executor.before_run = note
    rig.runner.listen(granted.get)
    granted.put(first)
    await asyncio.to_thread(together.wait)
    assert rig.runner.run_behind(first, second)
    assert rig.runner._overdue(time.monotonic_ns() + 3600 * NS_PER_S) == {first}
    await asyncio.to_thread(together.wait)
    assert (await requests[1].answer)[0].tolist() == [[2, 2]]
    assert threads[0] == threads[1]
    assert not rig.runner.run_behind(first, third)
    granted.put(None)


async def test_closing_refuses_what_waits_behind_a_batch_that_does_not_end() -> None:
    rig = _Rig()
    requests, granted = [rig.push(1), rig.push(2)], SimpleQueue[Batch | None]()
    first, second = (Batch(50, rig.queue.take(1), finish_by_ns=0) for _ in requests)
    together = Barrier(2)
    rig.executor.before_run = lambda: (together.wait(timeout=10), together.wait(timeout=10))
    rig.runner.listen(granted.get)
    granted.put(first)
    await asyncio.to_thread(together.wait)
    assert rig.runner.run_behind(first, second)
    await rig.runner.close()
    for request in requests:
        with pytest.raises(UnavailableError):
            await request.answer
    for _ in range(3):
        await asyncio.to_thread(together.wait)
    granted.put(None)


async def test_a_batch_is_hung_once_two_looks_have_found_it_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first may be that of a process which stood still and whose batches only go on now."""
    rig = _Rig()
    rig.push(1)
    together = Barrier(2)
    rig.executor.before_run = lambda: (together.wait(timeout=10), together.wait(timeout=10))
    over = asyncio.create_task(rig.run(100, 1))
    await asyncio.to_thread(together.wait)
    looks: list[int] = []

    def much_later_ns() -> int:
        looks.append(0)
        return time.monotonic_ns() + 3600 * NS_PER_S

    monkeypatch.setattr(batches, "time", SimpleNamespace(monotonic_ns=much_later_ns))
    with pytest.raises(HungError, match="a batch of 1 items on the lane of 100 GPU% never ended"):
        await rig.runner.watch()
    assert len(looks) == 2
    await asyncio.to_thread(together.wait)
    await over


async def test_a_batch_that_ends_soon_is_answered_by_a_worker_that_exits() -> None:
    rig = _Rig()
    running, waiting = rig.push(1), rig.push(2)
    together = Barrier(2)
    rig.executor.before_run = lambda: (together.wait(timeout=10), together.wait(timeout=10))
    over = asyncio.create_task(rig.run(100, 1))
    await asyncio.to_thread(together.wait)
    closing = asyncio.create_task(rig.runner.close())
    with pytest.raises(UnavailableError):
        await waiting.answer
    await asyncio.to_thread(together.wait)
    assert (await running.answer)[0].tolist() == [[2, 2]]
    await asyncio.gather(over, closing)


async def test_while_batches_run_on_all_lanes_another_thread_waits_for_the_next() -> None:
    rig = _Rig()
    requests, granted = [rig.push(value) for value in range(LANES)], SimpleQueue[Batch | None]()
    all_run = Barrier(LANES + 1)
    rig.executor.before_run = lambda: (all_run.wait(timeout=10), all_run.wait(timeout=10))
    for _ in range(LANES + 1):
        rig.runner.listen(granted.get)
    for _ in requests:
        granted.put(Batch(50, rig.queue.take(1), finish_by_ns=0))
    await asyncio.to_thread(all_run.wait)
    granted.put(None)
    await until(granted.empty)
    await asyncio.to_thread(all_run.wait)
    assert [(await request.answer)[0][0, 0] for request in requests] == [0, 2]
    for _ in range(LANES):
        granted.put(None)


async def test_a_batch_that_nobody_granted_runs_while_all_others_listen() -> None:
    rig = _Rig()
    request, granted = rig.push(1), SimpleQueue[Batch | None]()
    for _ in range(LANES + 1):
        rig.runner.listen(granted.get)
    await rig.run(100, 1)
    assert request.answer.done()
    for _ in range(LANES + 1):
        granted.put(None)
