import logging

import numpy as np
import pytest

from kneescale_worker.batches import BatchRun, BatchRunner
from kneescale_worker.errors import BatchFailedError, UnavailableError
from kneescale_worker.metrics import Metrics
from kneescale_worker.queue import ItemQueue, Request
from tests.worker.fake_executor import DoublingExecutor


class _Rig:
    """A runner around the fake executor."""

    def __init__(self) -> None:
        self.executor = DoublingExecutor()
        self.queue = ItemQueue(limit=100)
        self.metrics = Metrics("m", "cpu", "cpu")
        self.runner = BatchRunner(self.executor, (50, 100), self.queue, self.metrics)

    def push(self, *rows: float) -> Request:
        request = Request([np.array([[value, value] for value in rows], np.float32)], 0)
        self.queue.push(request)
        return request

    async def run(self, gpu_percent: int, batch: int) -> BatchRun:
        return await self.runner.run(gpu_percent, self.queue.take(batch))


async def test_a_batch_spans_requests_and_leaves_their_inputs_alone() -> None:
    rig = _Rig()
    first, second = rig.push(1, 2), rig.push(3, 4)
    run = await rig.run(50, 3)
    assert rig.executor.batches == [(50, 3)]
    assert run.ended_ns >= run.started_ns
    assert (await first.answer)[0][:, 0].tolist() == [2, 4]
    assert first.inputs[0][:, 0].tolist() == [1, 2]
    assert not second.answer.done()
    await rig.run(100, 3)
    assert (await second.answer)[0][:, 0].tolist() == [6, 8]


@pytest.mark.parametrize("fault", [-1, 1001])
async def test_a_failed_batch_fails_its_requests_and_no_other(
    fault: float, caplog: pytest.LogCaptureFixture
) -> None:
    rig = _Rig()
    good, bad, mate, later = rig.push(1), rig.push(fault), rig.push(2), rig.push(3)
    with caplog.at_level(logging.CRITICAL, "kneescale_worker"):
        for batch in (1, 2, 1):
            await rig.run(100, batch)
    assert (await good.answer)[0].tolist() == [[2, 2]]
    assert (await later.answer)[0].tolist() == [[6, 6]]
    for request in (bad, mate):
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


async def test_closing_refuses_what_waits() -> None:
    rig = _Rig()
    request = rig.push(1)
    rig.runner.close()
    with pytest.raises(UnavailableError):
        await request.answer
