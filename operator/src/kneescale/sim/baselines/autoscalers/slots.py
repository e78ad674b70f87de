"""Replicas as clusters have them without the product: one fixed GPU% each, as many as fit on the GPUs.

A replica is a worker with one lane of its own: a partition by MPS that nothing else slows down, which is
more than MPS gives. It batches as the product's dispatcher does, which flatters it too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kneescale.core.planning.configuration import Configuration
from kneescale.core.units import MS_PER_S, WHOLE_GPU_PERCENT
from kneescale.sim.autoscaling.fleet import Place, Plan, Wanted
from kneescale.sim.autoscaling.scene import Scene
from kneescale.sim.dispatched import terms_of
from kneescale.sim.fleet import runs_of
from kneescale.sim.tenant import Tenant

#: How busy the replicas that serve from the start on are, about.
_FIRST_BUSY = 0.6


@dataclass(frozen=True, slots=True)
class Replica:
    """What each replica of a model is: its number, itself as a tenant, and the run planned for its peak."""

    number: int
    tenant: Tenant
    run: Configuration

    @property
    def capacity_rps(self) -> float:
        """What it answers when it is always busy with its planned run."""
        return self.run.batch * MS_PER_S / self.run.latency_ms


class Slots:
    """All GPUs are of one product, as node pools are: the first one's on which every model has a run.

    Raises InfeasibleError where there is none.
    """

    def __init__(self, scene: Scene) -> None:
        product = _product_of_all(scene)
        self._gpus = [gpu.name for gpu in scene.scenario.gpus if gpu.product == product]
        self._first_rps = {
            model.name: float(rates[0]) for model, rates in zip(scene.models, scene.rates_rps, strict=True)
        }
        self._taken: dict[str, dict[Place, None]] = {model.name: {} for model in scene.models}
        self._made = 0
        self.replicas: Mapping[str, Replica] = {
            model.name: Replica(number, tenant, runs_of(model, [product], tenant.rate_rps)[product])
            for number, (model, tenant) in enumerate(zip(scene.models, scene.tenants(product), strict=True))
        }

    def first(self) -> Plan:
        """Enough replicas for the first rate."""
        return self.plan(
            {
                name: 1 + int(self._first_rps[name] / (_FIRST_BUSY * replica.capacity_rps))
                for name, replica in self.replicas.items()
            }
        )

    def plan(self, numbers: Mapping[str, int]) -> Plan:
        """So many replicas of each model, or as many as fit; the newest go first."""
        for name, number in numbers.items():
            taken = self._taken[name]
            while len(taken) > number:
                taken.popitem()
        for name, number in numbers.items():
            self._add(name, number - len(self._taken[name]))
        return {name: self._wanted(replica) for name, replica in self.replicas.items()}

    def _add(self, name: str, number: int) -> None:
        for _ in range(number):
            gpu = max(self._gpus, key=self._free_percent)
            if self._free_percent(gpu) < self.replicas[name].run.gpu_percent:
                return
            self._made += 1
            self._taken[name][Place(gpu, f"{name}-{self._made}")] = None

    def _free_percent(self, gpu: str) -> int:
        held = (
            self.replicas[name].run.gpu_percent * sum(place.gpu == gpu for place in taken)
            for name, taken in self._taken.items()
        )
        return WHOLE_GPU_PERCENT - sum(held)

    def _wanted(self, replica: Replica) -> Wanted:
        run, places = replica.run, self._taken[replica.tenant.name]
        terms = terms_of(replica.tenant, run.gpu_percent, run.batch, (run.gpu_percent,))
        gpus = len(places) * run.gpu_percent / WHOLE_GPU_PERCENT
        return Wanted(dict.fromkeys(places, terms), len(places), gpus)


def _product_of_all(scene: Scene) -> str:
    """The first GPU's product on which every model has a run; the first one's where none is such."""
    products = list(dict.fromkeys(gpu.product for gpu in scene.scenario.gpus))
    by_model = (runs_of(model, products, scene.load * model.rate_rps) for model in scene.models)
    common = set.intersection(*map(set, by_model))
    return next((product for product in products if product in common), products[0])
