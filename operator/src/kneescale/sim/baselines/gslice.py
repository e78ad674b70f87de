"""GSLICE: a static GPU% for each model, and batches that adapt to the SLO (SoCC 2020)."""

from kneescale.sim.baselines.static_partitions import StaticPartitions
from kneescale.sim.tenant import Tenant


class Gslice(StaticPartitions):
    """One process per model with a GPU% of its own, together at most 100; no model disturbs another.

    From the paper, as recalled: each model's GPU% is learned so that its rate is served within its SLO, the
    GPU is divided in that proportion when it is short, and each batch is as large as its SLO allows.
    Here nothing is learned by trial: the partition is the one that all the trials could find, the best
    by the measured surfaces.
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, budget: float, headroom: float) -> None:
        super().__init__(tenants, most_instances=1, budget=budget, headroom=headroom)
