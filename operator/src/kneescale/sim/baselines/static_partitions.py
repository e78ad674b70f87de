"""Static partitions of a GPU: fixed GPU%s whose sum is at most 100, so that no process disturbs another."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.sim.baselines.processes import Process, Processes
from kneescale.sim.queues import Queues
from kneescale.sim.tenant import Tenant

_HALVINGS = 20


@dataclass(frozen=True, slots=True)
class Partition:
    """A model's processes: `instances` of them with `gpu_percent` each."""

    gpu_percent: int
    instances: int

    @property
    def total_percent(self) -> int:
        """What all of them hold."""
        return self.gpu_percent * self.instances


class StaticPartitions(Processes):
    """Up to `most_instances` processes per model, in the best partition that planning finds.

    No published system, but about the most that any one with fixed GPU%s could be given in advance.
    Batches are as large as the oldest request's deadline allows. A request that not even a batch of its own
    would answer in time is refused.

    `budget` is the part of the SLO that a batch may take when the partition is made; `headroom` is how many
    standard deviations of a Poisson count over one SLO each rate is raised by.
    """

    def __init__(
        self, tenants: tuple[Tenant, ...], *, most_instances: int, budget: float, headroom: float
    ) -> None:
        partitions = best_partition(tenants, most_instances, budget, headroom)
        super().__init__(tenants, list(map(_process, tenants, partitions)))

    def late(self, model: int, queues: Queues, now_ns: int) -> int:
        """The oldest requests that no batch would answer in time."""
        tenant = self.tenants[model]
        alone_ns = tenant.latency_ns(self.processes[model].gpu_percent, 1)
        return queues.count_before(model, now_ns + alone_ns - tenant.slo_ns)

    def batch(self, model: int, queues: Queues, now_ns: int) -> int:
        """As many requests as the oldest one's deadline allows."""
        slack_ns = queues.deadline_ns(model) - now_ns
        percent = self.processes[model].gpu_percent
        return self.tenants[model].largest_batch(percent, queues.length(model), slack_ns)


def best_partition(
    tenants: tuple[Tenant, ...], most_instances: int, budget: float, headroom: float
) -> list[Partition]:
    """The partitions, of sum at most 100, that carry the largest common multiple of all rates.

    By bisection on the multiple. What is left over goes to the models in turn, a percent for each process.
    Where no multiple fits, for a model has no batch within the budget, all get an equal share.
    """
    served = [_served_rps(tenant, budget) for tenant in tenants]
    rates = [_raised(tenant, headroom) for tenant in tenants]

    def cheapest(multiple: float) -> list[Partition]:
        wanted = [multiple * rate for rate in rates]
        return [_cheapest(*of_one, most_instances) for of_one in zip(served, wanted, strict=True)]

    low = 0.0
    high = most_instances * max(of_one[-1] / rate for of_one, rate in zip(served, rates, strict=True))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _total(cheapest(middle)) <= WHOLE_GPU_PERCENT else (low, middle)
    found = cheapest(low)
    if _total(found) > WHOLE_GPU_PERCENT:
        found = [Partition(WHOLE_GPU_PERCENT // len(tenants), 1)] * len(tenants)
    return _grown(found)


def _process(tenant: Tenant, partition: Partition) -> Process:
    return Process(partition.gpu_percent, tenant.max_batch, instances=partition.instances)


def _total(partitions: Sequence[Partition]) -> int:
    return sum(partition.total_percent for partition in partitions)


def _cheapest(served_rps: Sequence[float], wanted_rps: float, most_instances: int) -> Partition:
    """The smallest partition that serves the rate; more than the whole GPU if none does."""
    serving = [
        Partition(1 + more, instances)
        for more, of_one_rps in enumerate(served_rps)
        if of_one_rps > 0 and (instances := max(1, ceil(wanted_rps / of_one_rps))) <= most_instances
    ]
    # Of equals fewer processes: each of them is faster.
    return min(
        serving,
        key=lambda partition: (partition.total_percent, partition.instances),
        default=Partition(WHOLE_GPU_PERCENT + 1, 1),
    )


def _grown(partitions: list[Partition]) -> list[Partition]:
    """With what is left over of the GPU."""
    left = WHOLE_GPU_PERCENT - _total(partitions)
    while any(partition.instances <= left for partition in partitions):
        for number, partition in enumerate(partitions):
            if partition.instances <= left:
                partitions[number] = Partition(partition.gpu_percent + 1, partition.instances)
                left -= partition.instances
    return partitions


def _raised(tenant: Tenant, headroom: float) -> float:
    slo_s = tenant.slo_ns / NS_PER_S
    return tenant.rate_rps + headroom * sqrt(tenant.rate_rps * slo_s) / slo_s


def _served_rps(tenant: Tenant, budget: float) -> list[float]:
    """Requests per second that batches within the budget serve at 1, 2, ... 100 GPU%; 0 where none is."""
    return [_most_rps(tenant, percent, budget) for percent in range(1, WHOLE_GPU_PERCENT + 1)]


def _most_rps(tenant: Tenant, percent: int, budget: float) -> float:
    most = tenant.largest_batch(percent, tenant.max_batch, round(budget * tenant.slo_ns))
    return max(
        (batch * NS_PER_S / tenant.latency_ns(percent, batch) for batch in range(1, most + 1)), default=0.0
    )
