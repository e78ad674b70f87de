"""Fixed batches under plain MPS: what a GPU gives without any control of who gets how much of it."""

from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.baselines.processes import Process, Processes, largest_within
from kneescale.sim.tenant import Tenant


class FixedBatchMps(Processes):
    """One process per model, all under MPS at 100 GPU%; each runs batches of one size.

    "FB" in GSLICE (SoCC 2020) and D-STACK (arXiv 2304.13541), as recalled: batches of 16. Here the size
    is the largest that takes at most `budget` of the SLO alone on the GPU, and a batch starts short of
    that when its oldest request has waited for `delay` of the SLO: without that, low rates would miss
    their SLOs. MPS without percentages lets every process use the whole GPU (NVIDIA, "Multi-Process
    Service").
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, budget: float, delay: float) -> None:
        super().__init__(tenants, [_process(tenant, budget, delay) for tenant in tenants])


def _process(tenant: Tenant, budget: float, delay: float) -> Process:
    batch = largest_within(budget, tenant)
    delay_ns = round(delay * tenant.slo_ns)
    return Process(WHOLE_GPU_PERCENT, most=batch, wanted=batch, delay_ns=delay_ns)
