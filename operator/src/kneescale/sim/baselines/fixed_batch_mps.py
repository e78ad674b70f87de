"""Fixed batches under plain MPS: what a GPU gives without any control of who gets how much of it."""

from kneescale.sim.baselines.processes import Process, Processes
from kneescale.sim.tenant import Tenant


class FixedBatchMps(Processes):
    """One process per model, all under MPS at 100 GPU%; each runs batches of one size.

    "FB" in GSLICE (SoCC 2020) and D-STACK (arXiv 2304.13541), as recalled: batches of 16. Here the size is
    `size` times the largest batch measured, and a batch that is not full starts when its oldest request could
    wait no longer if the model had the GPU for itself: a wait for a full one would make low rates miss their
    SLOs. MPS without percentages lets every process use the whole GPU (NVIDIA, "Multi-Process Service").
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, size: float, delay: float) -> None:
        super().__init__(tenants, [_process(tenant, size, delay) for tenant in tenants])


def _process(tenant: Tenant, size: float, delay: float) -> Process:
    batch = max(1, round(size * tenant.max_batch))
    return Process(gpu_percent=100, most=batch, wanted=batch, delay_ns=round(delay * tenant.slo_ns))
