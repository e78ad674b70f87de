"""Fit the catalog's parameters to a file of measured latency surfaces and print them as Python.

    python tools/fit_figures.py rapp_spatial.csv alexnet vgg19

The file (columns model, batch, gpu_percent, latency_ms) is not part of the product; what this prints
goes into `kneescale/core/surfaces/catalog.py`. With no models named, it fits all of them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from kneescale.cli.profiles import read_profiles
from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.population import POPULATION
from kneescale.core.surfaces.surface import Point

_Floats = NDArray[np.float64]


def main() -> int:
    """Print one catalog entry for each model asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("models", nargs="*")
    arguments = parser.parse_args()
    profiles = {profile.model: profile.points for profile in read_profiles(arguments.csv)}
    for model in arguments.models or profiles:
        parameters = fit(profiles[model])
        errors = _errors(parameters, profiles[model])
        sys.stdout.write(
            f'_rapp("{model}", {_rounded(parameters)}, '
            f"{np.quantile(errors, 0.9):.3f}),  # median {np.median(errors):.3f}\n"
        )
    return 0


def fit(points: Sequence[Point]) -> Parameters:
    """The parameters of the least logarithmic error, outliers damped; the best of several starts.

    What no point tells (the work of a model that its host bounds throughout) is what is usual for the rest.
    """
    percents = np.array([point.gpu_percent for point in points], dtype=float)
    batches = np.array([point.batch for point in points], dtype=float)
    measured = np.log([point.latency_ms for point in points])
    fastest = float(np.exp(measured.min()))

    unusual = POPULATION.noise * np.linalg.inv(np.linalg.cholesky(np.array(POPULATION.log_covariance)))

    def residuals(log_parameters: _Floats) -> _Floats:
        misfit = np.log(_latency_ms(np.exp(log_parameters), percents, batches)) - measured
        return np.concatenate([misfit, unusual @ (log_parameters - np.array(POPULATION.log_mean))])

    starts = [np.log([fastest, fastest / 10, fastest * 10, fastest * work]) for work in (5, 20, 80)]
    fits = [least_squares(residuals, start, loss="soft_l1", f_scale=0.1) for start in starts]
    best = min(fits, key=lambda result: float(result.cost))
    return Parameters(*(float(value) for value in np.exp(best.x)))


def _latency_ms(parameters: _Floats, percents: _Floats, batches: _Floats) -> _Floats:
    """`Parameters.latency_ms` over arrays."""
    host_ms, serial_ms, fixed_work, work = parameters
    latency: _Floats = np.maximum(host_ms, serial_ms * batches + (fixed_work + work * batches) / percents)
    return latency


def _errors(parameters: Parameters, points: Sequence[Point]) -> _Floats:
    """Relative error at each point."""
    fitted = np.array([parameters.latency_ms(point.gpu_percent, point.batch) for point in points])
    errors: _Floats = np.abs(fitted / np.array([point.latency_ms for point in points]) - 1)
    return errors


def _rounded(parameters: Parameters) -> str:
    values = (parameters.host_ms, parameters.serial_ms, parameters.fixed_work, parameters.work)
    return f"Parameters({', '.join(f'{value:.4g}' for value in values)})"


if __name__ == "__main__":
    raise SystemExit(main())
