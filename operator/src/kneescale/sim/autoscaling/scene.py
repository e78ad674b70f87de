"""What every autoscaler is tried on: models, GPUs, the requests that come, and the rates behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from kneescale.core.units import NS_PER_S
from kneescale.sim.arrivals import Times
from kneescale.sim.scenario import Scenario, ScenarioModel, Shaped, Trace
from kneescale.sim.tenant import Tenant
from kneescale.sim.trial import Trial

#: The rate of a recorded trace at a time is that of so many seconds around it.
_SMOOTH_S = 10
#: How long a worker takes to start: about what it takes on a small local cluster.
DEFAULT_START_S = 8.0


@dataclass(frozen=True)
class Scene:
    """A scenario at `load` times its rates, and how long a new worker takes to start."""

    scenario: Scenario
    trial: Trial
    load: float = 1.0
    start_s: float = DEFAULT_START_S

    @property
    def models(self) -> tuple[ScenarioModel, ...]:
        """The models, whose numbers are their places here."""
        return self.scenario.models

    @property
    def duration_s(self) -> int:
        """How long it lasts, in whole seconds."""
        return ceil(self.trial.at(self.load).duration_s)

    @property
    def warmup_s(self) -> float:
        """Requests that come before do not count."""
        return self.trial.at(self.load).warmup_s

    @cached_property
    def arrivals(self) -> tuple[Times, ...]:
        """When requests come, by model."""
        return tuple(
            self.trial.at(self.load).times(number, model.name, self.load * model.rate_rps, self.load)
            for number, model in enumerate(self.models)
        )

    @cached_property
    def rates_rps(self) -> NDArray[np.float64]:
        """The rate that requests come at, by model, at the start of each second.

        A client's bursts are part of its randomness, and not of the rate.
        """
        return np.array([self._rates_of(number) for number in range(len(self.models))])

    @property
    def surges_s(self) -> Sequence[float]:
        """When the rate jumps up."""
        arrivals = self.scenario.arrivals
        if not isinstance(arrivals, Shaped):
            return []
        return [part * self.trial.duration_s for part in arrivals.shape.surges()]

    def tenants(self, product: str) -> tuple[Tenant, ...]:
        """The models on a GPU of that product."""
        return tuple(
            Tenant(
                model.name, model.slo_ms, self.load * model.rate_rps, model.surfaces[product], model.weight
            )
            for model in self.models
        )

    def _rates_of(self, number: int) -> NDArray[np.float64]:
        seconds = np.arange(self.duration_s)
        arrivals = self.scenario.arrivals
        if isinstance(arrivals, Trace):
            return self._rates_around(seconds, self.arrivals[number] / NS_PER_S)
        peak_rps = self.load * self.models[number].rate_rps
        if isinstance(arrivals, Shaped):
            return peak_rps * arrivals.shape.at(seconds / self.trial.duration_s)
        return np.full(len(seconds), peak_rps)

    def _rates_around(
        self, seconds: NDArray[np.int64], arrived_s: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The mean rate of what is in the run of the window around each of the seconds."""
        first_s = np.maximum(seconds - _SMOOTH_S / 2, 0)
        last_s = np.minimum(seconds + _SMOOTH_S / 2, self.trial.at(self.load).duration_s)
        requests = np.searchsorted(arrived_s, last_s) - np.searchsorted(arrived_s, first_s)
        rates_rps: NDArray[np.float64] = requests / (last_s - first_s)
        return rates_rps
