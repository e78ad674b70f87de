"""A GPU under the product's dispatcher that serves on while models come and go."""

from collections.abc import Mapping, Sequence

from kneescale.core.dispatching.dispatcher import PartitionTerms
from kneescale.core.dispatching.spatio_temporal import WHOLE, SpatioTemporal
from kneescale.core.scaling.area_use import AreaUse
from kneescale.sim.arrivals import Requests, Times
from kneescale.sim.dispatched import Dispatched
from kneescale.sim.engine import Loop, Slowness
from kneescale.sim.journal import Journal
from kneescale.sim.tenant import Tenant


class LiveGpu:
    """`tenants` are all models that may ever be on it; those are that have terms, or still have requests."""

    def __init__(self, tenants: tuple[Tenant, ...], slowness: Slowness) -> None:
        self.tenants = tenants
        self._scheduler = Dispatched(tenants, {}, SpatioTemporal(WHOLE))
        self._loop = Loop(tenants, self._scheduler, slowness)
        self._terms: Mapping[str, PartitionTerms] = {}
        self._use = AreaUse()
        self._use.add(0, 0)
        self.journal = Journal(self._loop.arrivals_ns)

    def configure(self, terms: Mapping[str, PartitionTerms], now_ns: int) -> None:
        """The models with terms, by name, are served from now on; others leave when they have no request."""
        if terms != self._terms:
            self._terms = dict(terms)
            self._scheduler.configure(terms, now_ns)
        for number, tenant in enumerate(self.tenants):
            is_leaving = tenant.name in self._scheduler.connected and tenant.name not in terms
            if is_leaving and self._loop.is_idle(number):
                self._scheduler.leave(tenant.name, now_ns)

    def serve(self, arrivals: Sequence[Times], until_ns: int) -> None:
        """Go on until then with more requests, by model, that all come before."""
        self._loop.feed(Requests(arrivals))
        self._loop.run(until_ns - 1, self.journal)
        self._use.add(until_ns, sum(self.journal.area))

    def used_permille(self) -> int:
        """The share of its area that was granted of late, as its agent would tell it."""
        return self._use.permille
