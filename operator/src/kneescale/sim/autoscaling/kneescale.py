"""The product's own autoscaler as the operator runs it: the core's decision, run choice and placement."""

from collections.abc import Sequence

import numpy as np

from kneescale.core.scaling.arrivals import Traffic, together
from kneescale.core.scaling.autoscaler import ScalingState, Tail, decide, forecast_ips, misses_too_many
from kneescale.core.units import NS_PER_S
from kneescale.sim.autoscaling.autoscaler import Workers
from kneescale.sim.autoscaling.fleet import Plan, Worker
from kneescale.sim.autoscaling.planner import PERCENTILE, Planner
from kneescale.sim.autoscaling.scene import Scene
from kneescale.sim.scenario import ScenarioModel

#: A worker tells of the requests of so long.
_TAIL_S = 30


class Kneescale:
    """Agents report every two seconds, and the operator plans at each report."""

    period_s = 2
    start_s = None

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._planner = Planner(scene)
        self._states = {model.name: ScalingState() for model in scene.models}
        #: What is provided for, by model.
        self._rates_ips = {
            model.name: float(rates[0]) * self._planner.factor(model, float(rates[0]), 1.0)
            for model, rates in zip(scene.models, scene.rates_rps, strict=True)
        }

    def first(self) -> Plan:
        """As where the InferenceModels say what to expect at first."""
        return self._planner.plan(self._rates_ips)

    def next(self, workers: Workers, now_s: int) -> Plan:
        """Decide for each model, then plan for all."""
        for model in self._scene.models:
            serving = [worker for worker in workers[model.name] if worker.is_ready(now_s)]
            state = self._decided(model, serving, now_s)
            self._states[model.name] = state
            if state.provided_ips is not None:
                self._rates_ips[model.name] = state.provided_ips
        return self._planner.plan(self._rates_ips)

    def _decided(self, model: ScenarioModel, serving: Sequence[Worker], now_s: int) -> ScalingState:
        known = [traffic for worker in serving if (traffic := worker.meter.traffic(now_s * NS_PER_S))]
        traffic = together(known) if known else None
        return decide(
            self._states[model.name],
            traffic,
            _tail(model, serving, now_s),
            now_s=now_s,
            factor=self._factor(model, traffic),
        ).state

    def _factor(self, model: ScenarioModel, traffic: Traffic | None) -> float:
        demand_ips = forecast_ips(traffic) if traffic else 0.0
        return self._planner.factor(model, demand_ips, traffic.dispersion) if traffic and demand_ips else 1.0


def _tail(model: ScenarioModel, serving: Sequence[Worker], now_s: int) -> Tail | None:
    since_ns = (now_s - _TAIL_S) * NS_PER_S
    waits_ms = [worker.gpu.journal.over_since(worker.number, since_ns) for worker in serving]
    waits_ms = [of_one for of_one in waits_ms if len(of_one)]
    if not waits_ms:
        return None
    missed = sum(int((of_one > model.slo_ms).sum()) for of_one in waits_ms)
    answered = [of_one[np.isfinite(of_one)] for of_one in waits_ms]
    slowest_ms = [float(np.percentile(of_one, PERCENTILE)) for of_one in answered if len(of_one)]
    return Tail(
        ratio=max(slowest_ms, default=0.0) / model.slo_ms,
        is_late=misses_too_many(missed, sum(map(len, waits_ms)), PERCENTILE),
        busy_permille=max(worker.gpu.used_permille() for worker in serving),
    )
