"""Runs batches: items from the queue, on a thread of their own, and hands out the answers."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from kneescale.core.dispatching.punctuality import hung_after_ns
from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT
from kneescale_worker.errors import BatchFailedError, HungError, UnavailableError
from kneescale_worker.executor import Executor
from kneescale_worker.metrics import Metrics
from kneescale_worker.queue import ItemQueue, Slice
from kneescale_worker.tensors import Array

_log = logging.getLogger(__name__)

#: A worker that is alone has no plan for its batches; this is far above any.
_LONGEST_ALONE_NS = 10 * NS_PER_S


@dataclass(frozen=True, slots=True)
class BatchRun:
    """When a batch ran (CLOCK_MONOTONIC); `outputs` is None when it failed."""

    started_ns: int
    ended_ns: int
    outputs: list[Array] | None = None


class BatchRunner:
    """One thread for each batch that the lanes can hold at once."""

    def __init__(self, executor: Executor, lanes: Sequence[int], queue: ItemQueue, metrics: Metrics) -> None:
        self._executor = executor
        self._queue = queue
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(WHOLE_GPU_PERCENT // min(lanes), thread_name_prefix="lane")
        self._hung: asyncio.Queue[str] = asyncio.Queue()

    async def load(self) -> None:
        """Load and warm up the model.

        Raises LoadError.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._executor.load)
        await loop.run_in_executor(self._threads, self._executor.warm_up)
        for gpu_percent, sms in self._executor.lane_sms.items():
            _log.info("the lane of %d GPU%% has %d SMs", gpu_percent, sms)
            self._metrics.lane_sms(gpu_percent, sms)

    def run(
        self,
        gpu_percent: int,
        slices: Sequence[Slice],
        finish_by_ns: int | None = None,
        on_end: Callable[[BatchRun], None] = lambda run: None,
    ) -> asyncio.Future[BatchRun]:
        """Start what was taken from the queue on a lane of `gpu_percent`; at once over when that is nothing.

        `on_end` is called as soon as the batch is over, on the lane's thread; then answers are handed out. A
        batch that has not ended long after `finish_by_ns` is hung, and so is this worker; see `watch`.
        """
        now_ns = time.monotonic_ns()
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[BatchRun] = loop.create_future()
        if not slices:
            run = BatchRun(now_ns, now_ns)
            on_end(run)
            answered.set_result(run)
            return answered
        items = sum(part.stop - part.start for part in slices)
        planned_ns = max(0, finish_by_ns - now_ns) if finish_by_ns else None
        # A grant that was long on its way is no reason to give up a batch that has only begun.
        finish_by_ns = max(now_ns, finish_by_ns or now_ns + _LONGEST_ALONE_NS)
        hung_in_s = (hung_after_ns(now_ns, finish_by_ns) - now_ns) / NS_PER_S
        fence = loop.call_later(hung_in_s, self._give_up, gpu_percent, items)

        def on_lane() -> None:
            run = _run(self._executor, gpu_percent, slices)
            on_end(run)
            loop.call_soon_threadsafe(finish, run)

        def finish(run: BatchRun) -> None:
            fence.cancel()
            _hand_out(run, slices)
            self._metrics.batch(items, run.ended_ns - run.started_ns, planned_ns)
            answered.set_result(run)

        self._threads.submit(on_lane)
        return answered

    async def watch(self) -> None:
        """Return never; raises HungError once a batch is hung."""
        raise HungError(await self._hung.get())

    def close(self) -> None:
        """Refuse what still waits and let the threads end."""
        self._queue.fail(len(self._queue), UnavailableError("the worker exits; send the request again"))
        self._threads.shutdown(wait=False)

    def _give_up(self, gpu_percent: int, items: int) -> None:
        self._hung.put_nowait(
            f"a batch of {items} items on the lane of {gpu_percent} GPU% never ended; the worker starts anew"
        )


def _run(executor: Executor, gpu_percent: int, slices: Sequence[Slice]) -> BatchRun:
    """The batch itself, on a thread of the pool."""
    started_ns = time.monotonic_ns()
    try:
        # Always a copy, so that the executor owns its inputs: a request's arrays are views of its bytes.
        columns = zip(*(part.inputs for part in slices), strict=True)
        inputs = [np.concatenate(arrays) for arrays in columns]
        outputs = executor.run(gpu_percent, inputs)
        _check_rows(outputs, len(inputs[0]))
    except Exception:  # noqa: BLE001  (whatever a model raises is its requests' error, and logged)
        _log.exception("a batch of %d requests failed", len(slices))
        return BatchRun(started_ns, time.monotonic_ns())
    return BatchRun(started_ns, time.monotonic_ns(), outputs)


def _check_rows(outputs: Sequence[Array], batch: int) -> None:
    """Without a row for each item, answers would go to the wrong requests."""
    if any(len(array) != batch for array in outputs):
        rows = ", ".join(str(len(array)) for array in outputs)
        raise ValueError(f"the model answered {rows} rows to a batch of {batch}")


def _hand_out(run: BatchRun, slices: Sequence[Slice]) -> None:
    offset = 0
    for part in slices:
        if run.outputs is None:
            part.request.fail(BatchFailedError("the batch of this request failed; the worker's log says why"))
            continue
        end = offset + part.stop - part.start
        part.request.deliver(part.start, [array[offset:end] for array in run.outputs])
        offset = end
