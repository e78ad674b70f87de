"""A model on one simulated GPU, and how long its batches take there."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.fluid import Workload, least_area_per_item
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT, ms_to_ns


@dataclass(frozen=True)
class Tenant:
    """One model on one GPU: what its clients were promised, and its latency surface on that GPU."""

    name: str
    slo_ms: float
    rate_rps: float
    surface: LatencySurface
    weight: int = 1
    _latencies_ns: dict[tuple[int, int], int] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def slo_ns(self) -> int:
        """The SLO in whole nanoseconds."""
        return ms_to_ns(self.slo_ms)

    @cached_property
    def max_batch(self) -> int:
        """The largest batch that was measured: no scheduler may run a larger one."""
        return self.surface.batches[-1]

    @cached_property
    def area_per_item(self) -> float:
        """GPU% x ns of one item in the cheapest run that ends within the SLO, or of all runs if none does."""
        try:
            return least_area_per_item(self.surface, self.slo_ms) * NS_PER_S
        except InfeasibleError:
            return least_area_per_item(self.surface, inf) * NS_PER_S

    def latency_ns(self, gpu_percent: int, batch: int) -> int:
        """f(p, b), in whole nanoseconds."""
        key = (gpu_percent, batch)
        if key not in self._latencies_ns:
            self._latencies_ns[key] = ms_to_ns(self.surface.latency_ms(gpu_percent, batch))
        return self._latencies_ns[key]

    def shared_latency_ns(self, share_percent: float, batch: int) -> float:
        """f(p, b) at any share of the GPU: work divided over SMs, so straight lines over 1/p."""
        low = int(share_percent)
        if low == 0:
            return self.latency_ns(1, batch) / share_percent
        at_low = self.latency_ns(low, batch)
        if low == share_percent:
            return at_low
        part = (low + 1) * (share_percent - low) / share_percent
        return at_low + part * (self.latency_ns(low + 1, batch) - at_low)

    def largest_batch(self, gpu_percent: int, most: int, within_ns: int) -> int:
        """The most items, up to `most` and the largest batch, that end in `within_ns`; 0 if not even one."""
        low, high = 0, min(most, self.max_batch)
        while low < high:
            middle = (low + high + 1) // 2
            if self.latency_ns(gpu_percent, middle) <= within_ns:
                low = middle
            else:
                high = middle - 1
        return low


def workloads_of(tenants: "Sequence[Tenant]", product: str) -> list[Workload]:
    """What the tenants ask for of a GPU of that product, which theirs is."""
    return [
        Workload(tenant.name, tenant.rate_rps, tenant.slo_ms, {product: tenant.surface}) for tenant in tenants
    ]


def load_of(tenants: "tuple[Tenant, ...]") -> float:
    """The part of a GPU's area that the tenants' rates take, each at its cheapest: 1 is the fluid bound."""
    return sum(tenant.rate_rps * tenant.area_per_item for tenant in tenants) / (WHOLE_GPU_PERCENT * NS_PER_S)
