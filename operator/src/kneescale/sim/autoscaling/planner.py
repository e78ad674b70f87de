"""The product's plan of given rates, as the operator makes it: a run for each model, then places."""

from collections.abc import Mapping

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import Configuration
from kneescale.core.planning.placement import DEFAULT_AREA_LIMIT_PERMILLE, Demand, Placed, place
from kneescale.core.scaling.autoscaler import LEAST_IPS
from kneescale.core.scaling.headroom import burst_factor
from kneescale.sim.autoscaling.fleet import Place, Plan, Wanted
from kneescale.sim.autoscaling.scene import Scene
from kneescale.sim.dispatched import terms_of
from kneescale.sim.fleet import device_of, memory_bytes_of, runs_of
from kneescale.sim.scenario import ScenarioModel

#: A scenario says no percentile: its SLOs are of 99 % of the requests.
PERCENTILE = 99


class Planner:
    """Remembers where each model is, so that it stays where it fits."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._devices = [device_of(gpu) for gpu in scene.scenario.gpus]
        self._products = {gpu.name: gpu.product for gpu in scene.scenario.gpus}
        self._tenants = {
            product: scene.tenants(product) for product in dict.fromkeys(self._products.values())
        }
        self._runs: dict[tuple[str, float], Mapping[str, Configuration]] = {}
        self._planned: dict[str, Wanted] = {}
        self._current: dict[str, tuple[str, ...]] = {}

    def factor(self, model: ScenarioModel, rate_ips: float, dispersion: float) -> float:
        """By what to multiply the rate for its bursts."""
        return max(
            burst_factor(
                model.surfaces[product],
                run,
                rate_ips=rate_ips,
                dispersion=dispersion,
                slo_ms=model.slo_ms,
                percentile=PERCENTILE,
                area_limit_permille=DEFAULT_AREA_LIMIT_PERMILLE,
            )
            for product, run in self._runs_of(model, rate_ips).items()
        )

    def plan(self, rates_ips: Mapping[str, float]) -> Plan:
        """What each model's rate is to have; a model that there is no room for keeps what it has.

        Raises InfeasibleError where it has nothing yet.
        """
        demands = {
            model.name: self._demand(model, max(LEAST_IPS, rates_ips[model.name]))
            for model in self._scene.models
        }
        outcome = place(demands.values(), self._devices, self._current)
        for number, model in enumerate(self._scene.models):
            placed = outcome[model.name]
            if isinstance(placed, Placed):
                self._current[model.name] = placed.devices
                wanted = self._wanted(number, demands[model.name], placed, rates_ips[model.name])
                self._planned[model.name] = wanted
            elif model.name not in self._planned:
                raise InfeasibleError(f"model {model.name}: {placed.reason}")
        return dict(self._planned)

    def _demand(self, model: ScenarioModel, rate_ips: float) -> Demand:
        return Demand(
            model=model.name,
            configurations=self._runs_of(model, rate_ips),
            memory_bytes=memory_bytes_of(model),
            min_replicas=1,
            max_replicas=len(self._devices),
            is_elastic=True,
        )

    def _wanted(self, number: int, demand: Demand, placed: Placed, rate_ips: float) -> Wanted:
        runs = {name: demand.configurations[self._products[name]] for name in placed.devices}
        terms = {
            Place(name): terms_of(self._tenants[self._products[name]][number], run.gpu_percent, run.batch)
            for name, run in runs.items()
        }
        permille = sum(run.area_permille for run in runs.values()) / len(runs) - placed.missing_permille
        return Wanted(terms, rate_ips, permille / DEFAULT_AREA_LIMIT_PERMILLE)

    def _runs_of(self, model: ScenarioModel, rate_ips: float) -> Mapping[str, Configuration]:
        """By product; as the operator does, without those on which no run keeps its rules."""
        key = (model.name, rate_ips)
        if key not in self._runs:
            self._runs[key] = runs_of(model, self._tenants, rate_ips)
        return self._runs[key]
