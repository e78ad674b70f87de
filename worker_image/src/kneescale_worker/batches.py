"""Runs batches: items from the queue, on a thread of their own, and hands out the answers."""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from kneescale.core.dispatching.punctuality import hung_after_ns
from kneescale.core.errors import KneescaleError
from kneescale.core.units import NS_PER_S
from kneescale_worker.artefact import check_outputs
from kneescale_worker.dataplane import CLOSING_GRACE_S
from kneescale_worker.errors import BatchFailedError, ContextLostError, HungError, UnavailableError
from kneescale_worker.executor import Executor
from kneescale_worker.failure_row import FailureRow
from kneescale_worker.lanes import most_at_once
from kneescale_worker.metrics import BatchFigures, Metrics
from kneescale_worker.queue import ItemQueue, Request, Slice
from kneescale_worker.tensors import Array

_log = logging.getLogger(__name__)

#: A worker that is alone has no plan for its batches; this is far above any.
_LONGEST_ALONE_NS = 10 * NS_PER_S
#: How often a hung batch is looked for: well within the least time after which one is.
_LOOK_EVERY_S = 0.25
#: So long may batches still run in a worker that exits: then there is time to tell their requests.
_LAST_BATCHES_S = CLOSING_GRACE_S / 2


@dataclass(frozen=True, slots=True)
class BatchRun:
    """When a batch ran (CLOCK_MONOTONIC); `outputs` is None when it failed."""

    started_ns: int
    ended_ns: int
    outputs: list[Array] | None = None


class Behind:
    """Room for one batch that is to run as soon as another one has ended, on its thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._batch: Batch | None = None
        self._is_closed = False

    def put(self, batch: "Batch") -> bool:
        """Whether it is going to run so; not once the other one is over."""
        with self._lock:
            if not self._is_closed:
                self._batch = batch
            return not self._is_closed

    def close(self, ended_ns: int) -> "Batch | None":
        """The other one ended then; what is behind it has its planned time from then on, as for the agent."""
        with self._lock:
            self._is_closed = True
            if self._batch is not None:
                self._batch.finish_by_ns = ended_ns + (self._batch.planned_ns or 0)
            return self._batch


@dataclass(slots=True, eq=False)
class Batch:
    """What was taken from the queue, to run on a lane of `gpu_percent`; over at once when that is nothing.

    `on_end` is called as soon as it is over, on the lane's thread, before answers are handed out.
    """

    gpu_percent: int
    slices: Sequence[Slice]
    #: When it should have ended; a batch that has not long after is hung, and so is this worker.
    finish_by_ns: int
    on_end: Callable[[BatchRun], None] = lambda run: None
    #: When its grant came, and how long that says it takes; None where nobody granted it, or it does not say.
    granted_ns: int | None = None
    planned_ns: int | None = None
    behind: Behind = field(default_factory=Behind)

    @property
    def items(self) -> int:
        """How many items it has."""
        return sum(part.stop - part.start for part in self.slices)

    def __str__(self) -> str:
        return f"a batch of {self.items} items on the lane of {self.gpu_percent} GPU%"


class BatchRunner:
    """One thread for each batch that the lanes can hold at once, and two that are left then."""

    def __init__(self, executor: Executor, lanes: Sequence[int], queue: ItemQueue, metrics: Metrics) -> None:
        self._executor = executor
        self._queue = queue
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self.lanes = most_at_once(lanes)
        # Two more: one that listens while all lanes run batches, for a refusal waits for none, and one for a
        # batch that nobody granted while all others listen.
        self._threads = ThreadPoolExecutor(self.lanes + 2, thread_name_prefix="lane")
        #: The batches that run, and when each is hung.
        self._running: dict[Batch, int] = {}
        #: What a batch failed with, where all others will too.
        self._lost: ContextLostError | None = None
        self._failures = FailureRow()
        self._is_closing = False
        #: Set whenever a batch is over while closing.
        self._ended = asyncio.Event()

    async def load(self) -> None:
        """Load and warm up the model.

        Raises LoadError.
        """
        # Not on one of asyncio's threads, which are waited for: a worker that is told to end gives a load up.
        # A warm-up is waited for: a client of MPS that ends in the middle of a kernel can harm the others.
        loader = ThreadPoolExecutor(1, thread_name_prefix="load")
        await self._loop.run_in_executor(loader, self._executor.load)
        await asyncio.to_thread(self._executor.warm_up)
        for gpu_percent, sms in self._executor.lane_sms.items():
            _log.info("the lane of %d GPU%% has %d SMs", gpu_percent, sms)
            self._metrics.lane_sms(gpu_percent, sms)

    async def run(self, gpu_percent: int, slices: Sequence[Slice]) -> BatchRun:
        """Run a batch that nobody planned; over when its answers are handed out."""
        batch = Batch(gpu_percent, slices, time.monotonic_ns() + _LONGEST_ALONE_NS)
        return await self._loop.run_in_executor(self._threads, self._run, batch)

    def listen(self, next_batch: Callable[[], Batch | None]) -> None:
        """Have one more thread run each batch that `next_batch` gives, until it gives None.

        Who gets a batch runs it, without a way through the event loop, while the others wait for the next.
        """
        self._threads.submit(self._listen, next_batch)

    def run_behind(self, first: Batch, batch: Batch) -> bool:
        """Have a batch run on the thread of `first` as soon as that has ended; not where it has already."""
        # One that waits is to end like those that run, in a worker that exits; it does not hang.
        self._running[batch] = sys.maxsize
        return first.behind.put(batch)

    async def watch(self) -> None:
        """Return never; raises HungError once a batch is hung, ContextLostError once none can run."""
        overdue: set[Batch] = set()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._lost is not None:
                raise self._lost
            # Seen so twice: where this process stood still, its batches are overdue and go on all the same.
            before, overdue = overdue, self._overdue(time.monotonic_ns())
            for batch in before & overdue:
                raise HungError(f"{batch} never ended; the worker starts anew")

    def _overdue(self, now_ns: int) -> set[Batch]:
        return {batch for batch, hung_ns in tuple(self._running.items()) if now_ns > hung_ns}

    async def close(self) -> None:
        """Refuse what waits, and soon also what runs on; let the threads end."""
        self._is_closing = True
        error = UnavailableError("the worker exits; send the request again")
        self._queue.fail(len(self._queue), error)
        self._threads.shutdown(wait=False)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._all_ended(), _LAST_BATCHES_S)
        self._queue.fail(len(self._queue), error)
        for batch in tuple(self._running):
            _fail(batch.slices, error)

    async def _all_ended(self) -> None:
        while self._running:
            self._ended.clear()
            await self._ended.wait()

    def _listen(self, next_batch: Callable[[], Batch | None]) -> None:
        batch = next_batch()
        while batch is not None:
            run = self._run(batch)
            batch = batch.behind.close(run.ended_ns) or next_batch()

    def _run(self, batch: Batch) -> BatchRun:
        """The way of a batch, on a lane's thread."""
        now_ns = time.monotonic_ns()
        # A grant that was long on its way is no reason to give up a batch that has only begun.
        self._running[batch] = hung_after_ns(now_ns, max(now_ns, batch.finish_by_ns))
        run = self._execute(batch) if batch.slices else BatchRun(now_ns, now_ns)
        batch.on_end(run)
        if batch.slices:
            self._hand_out(run, batch.slices)
        del self._running[batch]
        if self._is_closing:
            self._loop.call_soon_threadsafe(self._ended.set)
        if batch.slices:
            self._count(batch, run)
        return run

    def _execute(self, batch: Batch) -> BatchRun:
        """The batch itself."""
        started_ns = time.monotonic_ns()
        try:
            # Always a copy, so that the executor owns its inputs: a request's arrays are views of its bytes.
            columns = zip(*(part.inputs for part in batch.slices), strict=True)
            inputs = [np.concatenate(arrays) for arrays in columns]
            outputs = self._executor.run(batch.gpu_percent, inputs)
            # Rows of other widths cannot be joined with those of the request's other batches.
            check_outputs(self._executor.metadata, outputs)
            _check_rows(outputs, len(inputs[0]))
        except Exception as error:  # noqa: BLE001  (whatever a model raises is its requests' error)
            _log.exception("a batch of %d requests failed", len(batch.slices))
            ended_ns = time.monotonic_ns()
            self._judge(error, ended_ns)
            return BatchRun(started_ns, ended_ns)
        self._failures.end()
        return BatchRun(started_ns, time.monotonic_ns(), outputs)

    def _judge(self, error: Exception, now_ns: int) -> None:
        """Whether the failure of a batch is one of all that are to come."""
        if isinstance(error, ContextLostError):
            self._lost = error
        elif why := self._failures.add(error, now_ns):
            self._lost = ContextLostError(why)

    def _count(self, batch: Batch, run: BatchRun) -> None:
        waited_ns = batch.granted_ns and batch.granted_ns - batch.slices[0].request.arrived_ns
        took_ns = run.ended_ns - run.started_ns
        self._metrics.batch(BatchFigures(batch.items, took_ns, batch.planned_ns, waited_ns))

    def _hand_out(self, run: BatchRun, slices: Sequence[Slice]) -> None:
        """Answer the requests that are whole now; the event loop is not woken for others."""
        if run.outputs is None:
            error = BatchFailedError("the batch of this request failed; the worker's log says why")
            self._loop.call_soon_threadsafe(_fail, slices, error)
        elif whole := _deliver(run.outputs, slices):
            self._loop.call_soon_threadsafe(_finish, whole)


def _check_rows(outputs: Sequence[Array], batch: int) -> None:
    """Without a row for each item, answers would go to the wrong requests."""
    if any(len(array) != batch for array in outputs):
        rows = ", ".join(str(len(array)) for array in outputs)
        raise ValueError(f"the model answered {rows} rows to a batch of {batch}")


def _fail(slices: Sequence[Slice], error: KneescaleError) -> None:
    for part in slices:
        part.request.fail(error)


def _deliver(outputs: Sequence[Array], slices: Sequence[Slice]) -> list[Request]:
    """Give each request its rows; those that miss no others."""
    whole, offset = [], 0
    for part in slices:
        end = offset + part.stop - part.start
        if part.request.deliver(part.start, [array[offset:end] for array in outputs]):
            whole.append(part.request)
        offset = end
    return whole


def _finish(requests: Sequence[Request]) -> None:
    for request in requests:
        request.finish()
