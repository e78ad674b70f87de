"""Models in processes of their own, which run one batch at a time and know nothing of each other."""

from collections.abc import Iterator
from dataclasses import dataclass

from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.baselines.base import Baseline
from kneescale.sim.gpu import Gpu
from kneescale.sim.queues import Queues
from kneescale.sim.run import Run
from kneescale.sim.scheduler import Command, Drop, Start
from kneescale.sim.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Process:
    """How a model's processes run: `instances` of them, each on at most `gpu_percent`.

    One that is free waits for `wanted` requests, but the oldest for no longer than `delay_ns`, and takes
    up to `most`. What has waited for `timeout_ns` is refused.
    """

    gpu_percent: int
    most: int
    wanted: int = 1
    delay_ns: int = 0
    timeout_ns: int | None = None
    instances: int = 1


class Processes(Baseline):
    """Every model has processes, as `processes` says, by model."""

    def __init__(self, tenants: tuple[Tenant, ...], processes: list[Process]) -> None:
        super().__init__(tenants)
        self.processes = processes
        self._idle = [process.instances for process in processes]
        self._wake_ns: int | None = None

    def ended(self, run: Run) -> None:
        """Its process is free."""
        self._idle[run.model] += 1

    def decide(self, queues: Queues, gpu: Gpu, now_ns: int) -> Iterator[Command]:
        """A batch for each free process whose wait is over."""
        self._wake_ns = None
        for model, process in enumerate(self.processes):
            while self._idle[model] and queues.length(model):
                late = self.late(model, queues, now_ns)
                if late:
                    yield Drop(model, late)
                    continue
                ready_ns = self._ready_ns(model, queues, now_ns)
                if ready_ns > now_ns:
                    self._wake_ns = min(self._wake_ns or ready_ns, ready_ns)
                    break
                self._idle[model] -= 1
                yield Start(model, self.batch(model, queues, now_ns), process.gpu_percent)

    def wake_ns(self, now_ns: int) -> int | None:
        """When the first wait for more requests is over, as found when last asked to decide."""
        return self._wake_ns

    def is_blocked(self, gpu: Gpu) -> bool:
        """Whether every process is busy."""
        return not any(self._idle)

    def late(self, model: int, queues: Queues, now_ns: int) -> int:
        """How many of the oldest requests are refused: those that have waited for the timeout."""
        timeout_ns = self.processes[model].timeout_ns
        return 0 if timeout_ns is None else queues.count_before(model, now_ns - timeout_ns)

    def batch(self, model: int, queues: Queues, now_ns: int) -> int:
        """How many requests a free process takes: all that it may."""
        return min(queues.length(model), self.processes[model].most)

    def _ready_ns(self, model: int, queues: Queues, now_ns: int) -> int:
        process = self.processes[model]
        if queues.length(model) >= process.wanted:
            return now_ns
        return queues.oldest_ns(model) + process.delay_ns


def largest_within(budget: float, tenant: Tenant) -> int:
    """The largest batch that takes at most that part of the SLO alone on the GPU; 1 if none does."""
    within_ns = round(budget * tenant.slo_ns)
    return max(1, tenant.largest_batch(WHOLE_GPU_PERCENT, tenant.max_batch, within_ns))
