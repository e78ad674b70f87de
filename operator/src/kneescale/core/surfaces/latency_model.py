"""The model that measured latency surfaces are fitted to: physics, and how real surfaces deviate from it.

    f(p, b) = (host^q + gpu^q)^(1/q),  gpu = serial * b + (fixed_work + work * b) / p

is D-STACK's parallelism model (arXiv 2304.13541: a serial part, and work divided over the SMs) joined to the
host's floor, the time to launch a batch's kernels one by one; q says how sharply the slower of the two takes
over. Small batches cannot use all SMs, which reads as serial or fixed work. No real surface is that smooth:
batches take other kernels, and part of a sweep meets a slower host. So the logarithms of `host` and of `gpu`
deviate by a Gaussian process each (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006,
chapter 2), and the parameters have a prior: how the models of a population spread.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Some (GPU%, batch) pairs, as two arrays of one length."""

    gpu_percents: Floats
    batches: Floats

    @classmethod
    def of(cls, pairs: Iterable[tuple[float, int]]) -> "Runs":
        """The runs of (GPU%, batch) pairs, in their order."""
        columns = np.array(list(pairs), dtype=float).reshape(-1, 2)
        return cls(columns[:, 0], columns[:, 1])


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far a surface strays from its formula, and over which distance it strays alike.

    `spread` is the standard deviation of the logarithm; two runs' deviations are correlated by
    exp(-distance / scale), where the scale over batches is in doublings.
    """

    spread: float
    gpu_percent_scale: float
    batch_scale: float
    #: Distances between GPU%s are those of their logarithms, and so is their scale.
    logarithmic: bool

    def covariance(self, first: Runs, second: Runs) -> Floats:
        """Of each of n runs with each of m others (n x m)."""
        percents = [
            np.log(runs.gpu_percents) if self.logarithmic else runs.gpu_percents for runs in (first, second)
        ]
        apart = np.abs(np.subtract.outer(*percents)) / self.gpu_percent_scale
        doublings = np.abs(np.subtract.outer(np.log2(first.batches), np.log2(second.batches)))
        covariance: Floats = self.spread**2 * np.exp(-apart - doublings / self.batch_scale)
        return covariance


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known of a model before it is measured: how the models of a population spread."""

    #: Of ln host (ms), ln serial (ms an item), ln fixed_work and ln work (ms x GPU%, and the same an item).
    log_mean: tuple[float, ...]
    log_covariance: tuple[tuple[float, ...], ...]
    #: q: the higher, the sharper the turn from host-bound to GPU-bound.
    sharpness: float
    #: Standard deviation of the logarithm of a measured latency.
    noise: float
    host: Deviation
    gpu: Deviation


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """One surface of the model: the logarithms of its parameters, and what each of its `anchors` weighs.

    The deviation at a run is the sum of its covariances with the anchors times their weights.
    """

    log_parameters: Floats
    anchors: Runs
    host_weights: Floats
    gpu_weights: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Tangent:
    """The model at n runs, linear around a state.

    The derivatives of log f by the log parameters (n x 4), and by the two deviations (n each), which are the
    shares of host and GPU in the latency.
    """

    runs: Runs
    log_latency: Floats
    by_parameter: Floats
    host_share: Floats
    gpu_share: Floats


def tangent(state: State, runs: Runs, prior: Prior) -> Tangent:
    """The model at `runs` around `state`."""
    log_host, serial, fixed_work, work = state.log_parameters[0], *np.exp(state.log_parameters[1:])
    items, percents = runs.batches, runs.gpu_percents
    parts = np.stack([serial * items, fixed_work / percents, work * items / percents], axis=1)
    on_gpu = parts.sum(axis=1)
    host = log_host + prior.host.covariance(runs, state.anchors) @ state.host_weights
    gpu = np.log(on_gpu) + prior.gpu.covariance(runs, state.anchors) @ state.gpu_weights
    log_latency = np.logaddexp(prior.sharpness * host, prior.sharpness * gpu) / prior.sharpness
    host_share = np.exp(prior.sharpness * (host - log_latency))
    gpu_share = 1 - host_share
    by_parameter = np.column_stack([host_share, gpu_share[:, None] * parts / on_gpu[:, None]])
    return Tangent(runs, log_latency, by_parameter, host_share, gpu_share)


def covariance(first: Tangent, second: Tangent, prior: Prior) -> Floats:
    """Of log f between n and m runs (n x m), before any of them is measured."""
    parameters = first.by_parameter @ np.array(prior.log_covariance) @ second.by_parameter.T
    host = np.outer(first.host_share, second.host_share) * prior.host.covariance(first.runs, second.runs)
    gpu = np.outer(first.gpu_share, second.gpu_share) * prior.gpu.covariance(first.runs, second.runs)
    covariances: Floats = parameters + host + gpu
    return covariances
