"""GSLICE: a static GPU% for each model, and batches that adapt to the SLO (SoCC 2020)."""

from bisect import bisect_left
from math import sqrt

from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.sim.baselines.processes import Process, Processes
from kneescale.sim.queues import Queues
from kneescale.sim.tenant import Tenant

_HALVINGS = 20


class Gslice(Processes):
    """One process per model with a GPU% of its own, together at most 100; no model disturbs another.

    From the paper, as recalled: each model's GPU% is learned so that its rate is served within its SLO, the
    GPU is divided in that proportion when it is short, and each batch is as large as its SLO allows.
    Here nothing is learned by trial: the partition is the one that all the trials could find, the best
    by the measured surfaces. A request that not even a batch of its own would answer in time is refused.

    `budget` is the part of the SLO that a batch may take when the partition is made; `headroom` is how many
    standard deviations of a Poisson count over one SLO each rate is raised by.
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, budget: float, headroom: float) -> None:
        percents = best_partition(tenants, budget, headroom)
        processes = [
            Process(percent, tenant.max_batch) for percent, tenant in zip(percents, tenants, strict=True)
        ]
        super().__init__(tenants, processes)

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


def best_partition(tenants: tuple[Tenant, ...], budget: float, headroom: float) -> list[int]:
    """The GPU%s, of sum at most 100, that carry the largest common multiple of all rates.

    By bisection on the multiple. What is left over goes to the models in turn, a percent each.
    """
    rates = [_raised(tenant, headroom) for tenant in tenants]
    served = [_served_rps(tenant, budget) for tenant in tenants]

    def needed(multiple: float) -> list[int]:
        return [1 + bisect_left(of, multiple * rate) for of, rate in zip(served, rates, strict=True)]

    low, high = 0.0, max(of[-1] / rate for of, rate in zip(served, rates, strict=True))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(needed(middle)) <= WHOLE_GPU_PERCENT else (low, middle)
    percents = needed(low)
    each, more = divmod(WHOLE_GPU_PERCENT - sum(percents), len(tenants))
    return [percent + each + (number < more) for number, percent in enumerate(percents)]


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
