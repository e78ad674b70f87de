"""`profile`: measures f(p, b), one granted batch after the other, and leaves it as termination message."""

import asyncio
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kneescale.core.surfaces.surface import doubling_batches
from kneescale.core.units import NS_PER_S, NS_PER_US, ns_to_ms
from kneescale.core.wire import Done, Grant, Hello, Message, Probe, Role
from kneescale_worker.errors import AgentError
from kneescale_worker.executor import Executor
from kneescale_worker.link import FIRST_BACKOFF_S, AgentLink, connect
from kneescale_worker.settings import Settings
from kneescale_worker.tensors import DTYPES, Array

_log = logging.getLogger(__name__)
#: Every lane is measured up to this batch, whatever the time.
_ALWAYS_MEASURED_BATCH = 2
#: Larger batches are left out where they would take longer than this.
_LONGEST_BATCH_NS = 2 * NS_PER_S
_FEWEST_REPEATS = 3
_MOST_REPEATS = 25
#: The agent may have to find a gap between other models' batches, but not for so long.
_LONGEST_WAIT_S = 60.0

Point = tuple[int, int, int]


def lanes_to_measure(lanes: Sequence[int]) -> list[int]:
    """The lanes, without those less than 20 % above the one before: the surface flattens towards the top.

    The largest lane always stays.
    """
    kept: list[int] = []
    for lane in sorted(lanes):
        if not kept or 5 * lane >= 6 * kept[-1]:
            kept.append(lane)
    return kept if kept[-1] == max(lanes) else [*kept, max(lanes)]


class ProbeClient:
    """Asks the agent for probes, one at a time, over as many connections as it takes."""

    def __init__(self, socket: Path, max_batch: int) -> None:
        self._socket = socket
        self._hello = Hello(Role.PROFILE, max_batch)
        self._link: AgentLink | None = None
        self._grants: asyncio.Queue[tuple[AgentLink, Grant]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lane")

    async def probe(self, gpu_percent: int, batch: int, run: Callable[[], object]) -> int:
        """Run `run` when the agent grants it; its time in ns.

        Raises AgentError when no grant comes.
        """
        try:
            link, grant = await asyncio.wait_for(self._granted(gpu_percent, batch), _LONGEST_WAIT_S)
        except TimeoutError as error:
            raise AgentError(f"the agent granted no probe within {_LONGEST_WAIT_S:.0f} s") from error
        started_ns, ended_ns = await asyncio.get_running_loop().run_in_executor(self._thread, _timed, run)
        link.send(Done(grant.grant_id, started_ns, ended_ns))
        return ended_ns - started_ns

    async def _granted(self, gpu_percent: int, batch: int) -> tuple[AgentLink, Grant]:
        while True:
            if self._link is None or self._link.closed.is_set():
                self._link = await connect(self._socket, self._hello, self._on_message)
            self._link.send(Probe(gpu_percent, batch))
            granted = asyncio.create_task(self._grants.get())
            closed = asyncio.create_task(self._link.closed.wait())
            try:
                await asyncio.wait({granted, closed}, return_when=asyncio.FIRST_COMPLETED)
                if granted.done():
                    return granted.result()
                await asyncio.sleep(FIRST_BACKOFF_S)
            finally:
                granted.cancel()
                closed.cancel()

    def _on_message(self, link: AgentLink, message: Message) -> None:
        if isinstance(message, Grant):
            self._grants.put_nowait((link, message))


class Profiler:
    """Goes through the grid, small batches first, so that what time is left decides how far up it gets."""

    def __init__(self, client: ProbeClient, executor: Executor, budget_ns: int) -> None:
        self._client = client
        self._executor = executor
        self._deadline_ns = time.monotonic_ns() + budget_ns

    async def measure(self, lanes: Sequence[int], batches: Sequence[int]) -> list[Point]:
        """(gpu_percent, batch, latency in us) of each point that was measured."""
        points: list[Point] = []
        latest_ns = dict.fromkeys(lanes, 0)
        cells = [(lane, batch) for batch in batches for lane in lanes]
        for index, (lane, batch) in enumerate(cells):
            if batch > _ALWAYS_MEASURED_BATCH and (
                self._left_ns() <= 0 or 2 * latest_ns[lane] > _LONGEST_BATCH_NS
            ):
                continue
            latest_ns[lane] = await self._median_ns(lane, batch, self._left_ns() // (len(cells) - index))
            points.append((lane, batch, max(1, latest_ns[lane] // NS_PER_US)))
            _log.info("%d GPU%%, batch %d: %.2f ms", lane, batch, ns_to_ms(latest_ns[lane]))
        return points

    async def _median_ns(self, lane: int, batch: int, share_ns: int) -> int:
        """Median over as many repeats as fit into `share_ns`, after one to warm up."""
        inputs = _sample_inputs(self._executor, batch)
        until_ns = time.monotonic_ns() + share_ns
        times_ns: list[int] = []
        for repeat in range(_MOST_REPEATS + 1):
            if repeat > _FEWEST_REPEATS and time.monotonic_ns() >= until_ns:
                break
            times_ns.append(await self._client.probe(lane, batch, lambda: self._executor.run(lane, inputs)))
        return round(statistics.median(times_ns[1:]))

    def _left_ns(self) -> int:
        return self._deadline_ns - time.monotonic_ns()


async def profile(settings: Settings, executor: Executor) -> list[Point]:
    """Load the model and measure its surface on this device's lanes.

    Raises LoadError or AgentError.
    """
    executor.load()
    executor.warm_up()
    client = ProbeClient(settings.socket, settings.max_batch)
    profiler = Profiler(client, executor, settings.profile_seconds * NS_PER_S)
    return await profiler.measure(lanes_to_measure(settings.lanes), doubling_batches(settings.max_batch))


def _timed(run: Callable[[], object]) -> tuple[int, int]:
    started_ns = time.monotonic_ns()
    run()
    return started_ns, time.monotonic_ns()


def _sample_inputs(executor: Executor, batch: int) -> list[Array]:
    """Inputs of the right shapes; what they hold hardly matters to the time a DNN takes."""
    return [np.ones((batch, *spec.shape[1:]), DTYPES[spec.datatype]) for spec in executor.metadata.inputs]
