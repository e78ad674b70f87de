"""Schedulers that fill the GPU with the run that is worth most to them, again and again."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kneescale.core.surfaces.surface import doubling_batches
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.baselines.base import Baseline
from kneescale.sim.gpu import Gpu
from kneescale.sim.queues import Queues
from kneescale.sim.run import Run
from kneescale.sim.scheduler import Command, Drop, Start
from kneescale.sim.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Option:
    """A run that a model could start, and its GPU area in GPU% x ns."""

    gpu_percent: int
    batch: int
    latency_ns: int
    area: int


class Greedy(Baseline, ABC):
    """Starts runs while one fits the free GPU%. Which model goes first is for the subclass to say.

    Each model has one process at its knee: the smallest GPU% whose latency is within `knee` times the whole
    GPU's. With a `knee` of None it may run any number of batches at once, each at any GPU%: not how these
    schedulers were published, but what their order alone would make of the product's lanes.

    A model runs in the way that takes the least GPU area per request of all that fit and answer its oldest
    request in time. Requests that nothing would answer in time are refused.
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, knee: float | None) -> None:
        super().__init__(tenants)
        self._choices = [_Choices(tenant, knee) for tenant in tenants]
        self._least_percent = min(choices.percents[0] for choices in self._choices)
        self._may_overlap = knee is None
        self._running = [0] * len(tenants)

    def ended(self, run: Run) -> None:
        """One batch less of its model."""
        self._running[run.model] -= 1

    def decide(self, queues: Queues, gpu: Gpu, now_ns: int) -> Iterator[Command]:
        """The best run of those that fit, until none does."""
        for model, choices in enumerate(self._choices):
            if late := queues.count_before(model, now_ns - choices.longest_wait_ns):
                yield Drop(model, late)
        while found := self._found(queues, WHOLE_GPU_PERCENT - gpu.asked_percent, now_ns):
            model, option = self.choose(found)
            self._running[model] += 1
            yield Start(model, option.batch, option.gpu_percent)

    def is_blocked(self, gpu: Gpu) -> bool:
        """Whether not even the smallest GPU% is free."""
        return gpu.asked_percent + self._least_percent > WHOLE_GPU_PERCENT

    @abstractmethod
    def choose(self, found: Sequence[tuple[int, Option]]) -> tuple[int, Option]:
        """The one to start of (model, its run)."""

    def _found(self, queues: Queues, free_percent: int, now_ns: int) -> list[tuple[int, Option]]:
        """The cheapest run of each model that has one."""
        found: list[tuple[int, Option]] = []
        for model, choices in enumerate(self._choices):
            if queues.length(model) and (self._may_overlap or not self._running[model]):
                slack_ns = queues.deadline_ns(model) - now_ns
                option = choices.cheapest(queues.length(model), free_percent, slack_ns)
                if option:
                    found.append((model, option))
        return found


class _Choices:
    """The runs that one model may start."""

    def __init__(self, tenant: Tenant, knee: float | None) -> None:
        self.percents = (_knee(tenant, knee),) if knee else tenant.surface.gpu_percents
        self.longest_wait_ns = tenant.slo_ns - tenant.latency_ns(self.percents[-1], 1)
        self._max_batch = tenant.max_batch
        #: Those of up to 0, 1, 2, ... requests, the cheapest first.
        self._options = [_options(tenant, self.percents, most) for most in range(tenant.max_batch + 1)]

    def cheapest(self, most: int, free_percent: int, slack_ns: int) -> Option | None:
        """The run of up to `most` requests with the least area for each that fits and is in time."""
        for option in self._options[min(most, self._max_batch)]:
            if option.gpu_percent <= free_percent and option.latency_ns <= slack_ns:
                return option
        return None


def _knee(tenant: Tenant, within: float) -> int:
    """The smallest GPU% within that factor of the whole GPU's latency, for the batch of half the SLO."""
    batch = max(1, tenant.largest_batch(WHOLE_GPU_PERCENT, tenant.max_batch, tenant.slo_ns // 2))
    most_ns = within * tenant.latency_ns(WHOLE_GPU_PERCENT, batch)
    percents = (*tenant.surface.gpu_percents, WHOLE_GPU_PERCENT)
    return min(percent for percent in percents if tenant.latency_ns(percent, batch) <= most_ns)


def _options(tenant: Tenant, percents: Sequence[int], most: int) -> list[Option]:
    runs = ((percent, batch) for percent in percents for batch in (doubling_batches(most) if most else ()))
    timed = ((percent, batch, tenant.latency_ns(percent, batch)) for percent, batch in runs)
    options = [
        Option(percent, batch, latency_ns, percent * latency_ns) for percent, batch, latency_ns in timed
    ]
    return sorted(options, key=lambda option: (option.area / option.batch, option.latency_ns))
