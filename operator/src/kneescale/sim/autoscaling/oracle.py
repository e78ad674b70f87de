"""An autoscaler that knows the future: the product's plan of the true rate at each instant, in time."""

import numpy as np

from kneescale.core.scaling.arrivals import BIN_S, dispersion
from kneescale.core.units import NS_PER_S
from kneescale.sim.autoscaling.autoscaler import Workers
from kneescale.sim.autoscaling.fleet import Plan
from kneescale.sim.autoscaling.planner import Planner
from kneescale.sim.autoscaling.scene import Scene


class Oracle:
    """It knows the rate, and how bursty requests are in all; its workers start at once.

    It is no bound on what one could do with each request known ahead, only on what one can with rates.
    """

    period_s = 1
    start_s = 0.0

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._planner = Planner(scene)
        bins = np.arange(0, scene.duration_s + BIN_S, BIN_S)
        self._dispersions = [
            dispersion(np.histogram(times / NS_PER_S, bins)[0].tolist()) for times in scene.arrivals
        ]

    def first(self) -> Plan:
        """For the first second."""
        return self._plan(0)

    def next(self, workers: Workers, now_s: int) -> Plan:
        """For the second to come, whatever was measured."""
        return self._plan(now_s)

    def _plan(self, now_s: int) -> Plan:
        return self._planner.plan(
            {
                model.name: self._needed_ips(number, float(self._scene.rates_rps[number, now_s]))
                for number, model in enumerate(self._scene.models)
            }
        )

    def _needed_ips(self, number: int, rate_ips: float) -> float:
        if not rate_ips:
            return 0.0
        return rate_ips * self._planner.factor(
            self._scene.models[number], rate_ips, self._dispersions[number]
        )
