"""Models that take turns on a partition of a GPU, each with a planned batch per turn: Nexus's duty cycle."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from kneescale.core.units import NS_PER_S
from kneescale.sim.baselines.base import Baseline
from kneescale.sim.gpu import Gpu
from kneescale.sim.queues import Queues
from kneescale.sim.run import Run
from kneescale.sim.scheduler import Command, Drop, Start
from kneescale.sim.tenant import Tenant


@dataclass(frozen=True, slots=True)
class DutyCycle:
    """A partition of `gpu_percent` and the batch of each of its models in one round.

    `occupancy` is the part that the batches take of the time in which the rates fill them, or of the duty
    cycle where that is shorter: over 1, it does not fit.
    """

    gpu_percent: int
    batches: dict[int, int]
    occupancy: float


def squishy(gpu_percent: int, planned: Mapping[int, "Planned"]) -> DutyCycle:
    """The duty cycle of models on one partition by squishy bin packing (Nexus, SOSP 2019).

    A model alone would have the largest batch b with (b - 1) / rate + L(b) <= SLO, and the duty cycle
    min(SLO - L(b), b / rate). Models that share take the shortest of their cycles, and each the batch
    that its rate fills in it; no batch may take over half the SLO (the project's `backend_delegate.cpp`).
    """
    cycle_ns = min((plan.cycle_ns for plan in planned.values()), default=1.0)
    batches = {model: plan.batch(cycle_ns) for model, plan in planned.items()}
    busy_ns = sum(planned[model].latency_ns(batch) for model, batch in batches.items())
    due_ns = min((planned[model].filled_ns(batch) for model, batch in batches.items()), default=cycle_ns)
    return DutyCycle(gpu_percent, batches, busy_ns / min(cycle_ns, due_ns))


class Planned:
    """One model at a rate on one partition."""

    def __init__(self, tenant: Tenant, gpu_percent: int, rate_rps: float) -> None:
        self._slo_ns = tenant.slo_ns
        self._gap_ns = NS_PER_S / rate_rps
        within_half = tenant.largest_batch(gpu_percent, tenant.max_batch, tenant.slo_ns // 2)
        self._latencies_ns = [tenant.latency_ns(gpu_percent, 1 + more) for more in range(max(1, within_half))]
        #: The highest rate that its largest batches serve.
        self.most_rps = NS_PER_S * len(self._latencies_ns) / self._latencies_ns[-1]

    @cached_property
    def cycle_ns(self) -> float:
        """The longest duty cycle in which its rate is served within its SLO."""
        largest, longest_ns = len(self._latencies_ns), self._latencies_ns[-1]
        if largest * self._gap_ns <= longest_ns:
            return longest_ns
        more, latency_ns = max(
            (more, latency_ns)
            for more, latency_ns in enumerate(self._latencies_ns)
            if not more or more * self._gap_ns + latency_ns <= self._slo_ns
        )
        return max(1.0, min(self._slo_ns - latency_ns, (1 + more) * self._gap_ns))

    def batch(self, cycle_ns: float) -> int:
        """What its rate fills in a duty cycle."""
        return max(1, min(ceil(cycle_ns / self._gap_ns), len(self._latencies_ns)))

    def latency_ns(self, batch: int) -> int:
        """How long a batch takes."""
        return self._latencies_ns[batch - 1]

    def filled_ns(self, batch: int) -> float:
        """The time in which its rate fills a batch."""
        return batch * self._gap_ns


class DutyCycles(Baseline):
    """Runs each partition's models round robin, with early drop; no partition waits while it has requests.

    A model in turn takes its planned batch, or what is queued if that is less. Requests whose deadline
    comes before that batch would end are refused, so that the rest can have a full one (early drop:
    Nexus and its `model_exec.cpp`).
    """

    def __init__(self, tenants: tuple[Tenant, ...], cycles: Sequence[DutyCycle]) -> None:
        super().__init__(tenants)
        self._cycles = cycles
        self._turns = [list(cycle.batches) for cycle in cycles]
        self._is_busy = [False] * len(cycles)

    def ended(self, run: Run) -> None:
        """Its partition is free."""
        self._is_busy[run.tag] = False

    def decide(self, queues: Queues, gpu: Gpu, now_ns: int) -> Iterator[Command]:
        """The next turn of each free partition."""
        for partition, is_busy in enumerate(self._is_busy):
            if not is_busy:
                yield from self._next_turn(partition, queues, now_ns)

    def is_blocked(self, gpu: Gpu) -> bool:
        """Whether every partition is busy."""
        return all(self._is_busy)

    def _next_turn(self, partition: int, queues: Queues, now_ns: int) -> Iterator[Command]:
        turns = self._turns[partition]
        for position, model in enumerate(turns):
            late, batch = self._early_drop(partition, model, queues, now_ns)
            if late:
                yield Drop(model, late)
            if batch:
                turns[:] = turns[position + 1 :] + turns[: position + 1]
                self._is_busy[partition] = True
                yield Start(model, batch, self._cycles[partition].gpu_percent, tag=partition)
                return

    def _early_drop(self, partition: int, model: int, queues: Queues, now_ns: int) -> tuple[int, int]:
        """How many of the model's oldest requests to refuse now, and the batch of those that follow."""
        cycle, tenant, waiting = self._cycles[partition], self.tenants[model], queues.length(model)
        late, batch = 0, min(cycle.batches[model], waiting)
        while batch:
            latency_ns = tenant.latency_ns(cycle.gpu_percent, batch)
            late = max(late, queues.count_before(model, now_ns + latency_ns - tenant.slo_ns))
            if batch <= waiting - late:
                break
            batch = waiting - late
        return late, batch
