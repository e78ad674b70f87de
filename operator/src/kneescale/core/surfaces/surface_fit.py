"""A whole latency surface from a few measured points, with its error everywhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.latency_model import Floats, Prior, Runs, State, Tangent, covariance, tangent
from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.population import POPULATION
from kneescale.core.surfaces.surface import Point

#: Gauss-Newton steps, damped: whole ones can swing between a run bound by the host and one bound by the GPU.
_STEPS = 25
_DAMPING = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class FittedSurface:
    """f(p, b) and its error at any GPU% and batch; made by `fit_surface`."""

    prior: Prior
    _state: State
    _measured: Tangent
    _precision: Floats

    @property
    def parameters(self) -> Parameters:
        """The most likely parameters; the surface strays from their formula by its deviations."""
        return Parameters(*(float(value) for value in np.exp(self._state.log_parameters)))

    def latency_ms(self, runs: Runs) -> Floats:
        """f of each run, in ms: the median of what the points leave possible."""
        latency_ms: Floats = np.exp(self._at(runs).log_latency)
        return latency_ms

    def relative_error(self, runs: Runs) -> Floats:
        """The standard deviation of ln f of each run, so 0.05 is 5 %; without a measurement's own noise."""
        error: Floats = np.sqrt(np.maximum(np.diag(self.covariance(runs, runs)), 0))
        return error

    def covariance(self, first: Runs, second: Runs) -> Floats:
        """Between the errors of ln f at n and m runs (n x m): what measuring one would say of the other."""
        at_first, at_second = self._at(first), self._at(second)
        of_first = covariance(at_first, self._measured, self.prior)
        of_second = covariance(at_second, self._measured, self.prior)
        unmeasured = covariance(at_first, at_second, self.prior)
        remaining: Floats = unmeasured - of_first @ self._precision @ of_second.T
        return remaining

    def points(self, runs: Sequence[tuple[int, int]]) -> list[Point]:
        """What measuring each (GPU%, batch) is most likely to give."""
        latencies_ms = self.latency_ms(Runs.of(runs))
        return [Point(*run, float(latency_ms)) for run, latency_ms in zip(runs, latencies_ms, strict=True)]

    def _at(self, runs: Runs) -> Tangent:
        return tangent(self._state, runs, self.prior)


def fit_surface(points: Iterable[Point], prior: Prior = POPULATION) -> FittedSurface:
    """The most likely surface through `points`; without any, what is expected of a model of the population.

    Raises InvalidInputError on a run that is given twice.
    """
    latencies_ms: dict[tuple[int, int], float] = {}
    for point in points:
        run = (point.gpu_percent, point.batch)
        if run in latencies_ms:
            raise InvalidInputError(f"GPU% {run[0]} with batch {run[1]} is given twice")
        latencies_ms[run] = point.latency_ms
    runs, measured = Runs.of(latencies_ms), np.log(np.array(list(latencies_ms.values())))
    state = _start(measured, runs, prior)
    for _ in range(_STEPS):
        state = _step(state, measured, prior)
    at = tangent(state, runs, prior)
    precision = np.asarray(np.linalg.inv(_measured_covariance(at, prior)), dtype=np.float64)
    return FittedSurface(prior, state, at, precision)


def _start(measured: Floats, runs: Runs, prior: Prior) -> State:
    """The population's mean, made as slow as the points."""
    mean, none = np.array(prior.log_mean), np.zeros(len(measured))
    state = State(mean, runs, none, none)
    if not len(measured):
        return state
    slower = np.mean(measured - tangent(state, runs, prior).log_latency)
    return State(mean + slower, runs, none, none)


def _step(state: State, measured: Floats, prior: Prior) -> State:
    """One damped Gauss-Newton step towards the most likely state."""
    mean = np.array(prior.log_mean)
    at = tangent(state, state.anchors, prior)
    # What the linear model says at the prior's mean, from its value and its slope here.
    at_mean = (
        at.log_latency
        - at.by_parameter @ (state.log_parameters - mean)
        - at.host_share * (prior.host.covariance(at.runs, at.runs) @ state.host_weights)
        - at.gpu_share * (prior.gpu.covariance(at.runs, at.runs) @ state.gpu_weights)
    )
    weights = np.linalg.solve(_measured_covariance(at, prior), measured - at_mean)
    likely = mean + np.array(prior.log_covariance) @ at.by_parameter.T @ weights
    return State(
        _towards(state.log_parameters, likely),
        state.anchors,
        _towards(state.host_weights, at.host_share * weights),
        _towards(state.gpu_weights, at.gpu_share * weights),
    )


def _measured_covariance(at: Tangent, prior: Prior) -> Floats:
    return covariance(at, at, prior) + prior.noise**2 * np.eye(len(at.log_latency))


def _towards(old: Floats, new: Floats) -> Floats:
    return old + _DAMPING * (new - old)
