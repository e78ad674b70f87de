"""Nexus: models take turns on a whole GPU, in duty cycles made by squishy bin packing (SOSP 2019)."""

from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.baselines.duty_cycles import DutyCycles, Planned, squishy
from kneescale.sim.tenant import Tenant


class Nexus(DutyCycles):
    """All models in one duty cycle at 100 GPU%.

    Nexus would take further GPUs when the batches do not fit into the cycle; here there is one, and they
    run back to back, as its executor does anyway (the project's backend, `gpu_executor.cpp`: rounds
    without idling). Planned for the mean rates, its batches leave no room for bursts; `headroom` plans
    for that many times as much.
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, headroom: float) -> None:
        planned = {
            model: Planned(tenant, WHOLE_GPU_PERCENT, headroom * tenant.rate_rps)
            for model, tenant in enumerate(tenants)
        }
        super().__init__(tenants, [squishy(WHOLE_GPU_PERCENT, planned)])
