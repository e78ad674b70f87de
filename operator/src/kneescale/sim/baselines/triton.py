"""NVIDIA Triton Inference Server: a dynamic batcher for each model, and instances that know no GPU%."""

from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.baselines.processes import Process, Processes, largest_within
from kneescale.sim.tenant import Tenant


class Triton(Processes):
    """A free instance takes what is queued, up to the largest batch; all instances run at once.

    From Triton's user guide, "Batchers" and "Model configuration": the dynamic batcher makes batches as
    large as it can up to the maximum and by default delays nothing; `max_queue_delay_microseconds` makes
    a request wait for a larger batch while an instance is free, here for the largest; a queue policy's
    `default_timeout_microseconds` with REJECT refuses what has waited too long; `instance_group` sets how
    many instances a model has (one by default), which run in parallel if the GPU has room. Each may use
    the whole GPU, so that they slow each other down when they run at once.

    `budget` and `delay` are parts of the SLO: what the largest batch may take alone on the GPU, and how
    long to wait for it; the timeout is what such a batch leaves. Which of them and how many instances
    suit a mix is for a search to find, as Triton's own Model Analyzer does, which tries 1 to 5 instances
    unless told otherwise.
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, instances: int, budget: float, delay: float) -> None:
        super().__init__(tenants, [_process(tenant, instances, budget, delay) for tenant in tenants])


def _process(tenant: Tenant, instances: int, budget: float, delay: float) -> Process:
    most = largest_within(budget, tenant)
    return Process(
        gpu_percent=WHOLE_GPU_PERCENT,
        most=most,
        wanted=most if delay else 1,
        delay_ns=round(delay * tenant.slo_ns),
        timeout_ns=max(0, tenant.slo_ns - tenant.latency_ns(WHOLE_GPU_PERCENT, most)),
        instances=instances,
    )
