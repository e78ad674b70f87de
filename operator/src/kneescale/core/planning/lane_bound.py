"""The most that any schedule can carry where each model has so many lanes: a lane runs one batch at a time.

The fluid bound with one more limit: what runs at once on few lanes must be wide, and wide runs are dear.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np

from kneescale.core.planning.fluid import Workload, most_items_per_s
from kneescale.core.units import WHOLE_GPU_PERCENT

#: The load is found to this part of itself.
_RESOLUTION = 1e-4

#: Less of a model's rate than this counts as nothing.
_NOTHING = 1e-9


def lane_bound(workloads: Sequence[Workload], product: str, lanes: int) -> float:
    """The largest factor on all rates on one GPU of the product; 0 where no run of a model ends in time.

    Each model has the lanes that suit its rate best, of the surface's own GPU%s. A lane's batches are always
    full; the lanes hold GPU% only while they run, so that together they may be more than the whole GPU.
    """
    models = [_Lanes(workload, product, lanes) for workload in workloads]
    low, high = 0.0, min(model.largest_load for model in models)
    while high - low > _RESOLUTION * high:
        load = (low + high) / 2
        fits = sum(model.area_percent(load) for model in models) <= WHOLE_GPU_PERCENT
        low, high = (load, high) if fits else (low, load)
    return low


class _Lanes:
    """Every choice of lanes for one model, each with its cheapest lane first."""

    def __init__(self, workload: Workload, product: str, lanes: int) -> None:
        self._rate_rps = workload.rate_rps
        most_rps = most_items_per_s(workload.surfaces[product], workload.limit_ms)
        by_price = sorted(most_rps, key=lambda percent: percent / most_rps[percent])
        pools = [*combinations_with_replacement(by_price, lanes)]
        #: Of each lane of each pool: the most items per second, and the GPU% x s of one.
        self._most_rps = np.array([[most_rps[percent] for percent in pool] for pool in pools])
        self._area = np.array(pools) / self._most_rps if pools else self._most_rps

    @property
    def largest_load(self) -> float:
        """What the fastest lanes carry, if they have the GPU for themselves."""
        return float(self._most_rps.sum(axis=-1).max(initial=0)) / self._rate_rps

    def area_percent(self, load: float) -> float:
        """The least GPU% in the mean at that factor on the rate, of all pools that carry it."""
        left_rps = np.full(len(self._most_rps), load * self._rate_rps)
        area_percent = np.zeros(len(self._most_rps))
        for most_rps, area in zip(self._most_rps.T, self._area.T, strict=True):
            served_rps = np.minimum(left_rps, most_rps)
            area_percent += served_rps * area
            left_rps -= served_rps
        return float(area_percent[left_rps <= _NOTHING * self._rate_rps].min(initial=np.inf))
