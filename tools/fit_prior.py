"""Learn what models have in common from a file of measured latency surfaces; print it and what it is worth.

    python tools/fit_prior.py rapp_spatial.csv

The file (columns model, batch, gpu_percent, latency_ms) is not part of the product; what this prints goes
into `kneescale/core/surfaces/population.py`. The errors are those of models that were held out: a fifth of
the models is fitted from a few points each with what the other four fifths have in common, and judged on
all other points: 8 points that a profiler chooses, 8 that are the same for all, and as many as a profiler
takes until it knows the surface to 8 %.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from kneescale.cli.profiles import read_profiles
from kneescale.core.surfaces.latency_model import Floats, Prior, Runs
from kneescale.core.surfaces.population import POPULATION
from kneescale.core.surfaces.profiling_choice import MeasuringCost, Run, SequentialDesign
from kneescale.core.surfaces.surface import Point
from kneescale.core.surfaces.surface_fit import fit_surface

_FOLDS = 5
_POINTS = 8
#: What a profiler calls known well enough.
_TOLERANCE = 0.08
#: Two GPU%s for each batch, the lower ones where the GPU is what binds, the upper ones spread.
_FIXED_DESIGN: tuple[Run, ...] = (
    (10, 1), (50, 1), (10, 2), (70, 2), (10, 4), (40, 4), (10, 8), (100, 8),
)  # fmt: skip
#: A worker's start, and enough batches for a median.
_COST = MeasuringCost(set_up_s=5, batches=100)
#: Knows only the order of magnitude of milliseconds.
_IGNORANT = replace(
    POPULATION,
    log_mean=tuple(np.log([10, 0.3, 50, 100])),
    log_covariance=tuple(tuple(row) for row in 4 * np.eye(4)),
)

_Surfaces = Mapping[str, Sequence[Point]]
#: Chooses the points that are measured; the rest judges.
Choose = Callable[[Sequence[Point], Prior], Sequence[Point]]


def main() -> int:
    """Print the prior, and the held-out errors with each choice of points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("csv", type=Path)
    surfaces = {profile.model: profile.points for profile in read_profiles(parser.parse_args().csv)}
    prior = learn(surfaces)
    _write(f"log_mean={_rounded(prior.log_mean)},")
    _write(f"log_covariance=({', '.join(_rounded(row) for row in prior.log_covariance)}),")
    for title, choose in (("chosen", chosen_points), ("fixed", fixed_points), ("enough", enough_points)):
        errors = np.concatenate(held_out_errors(surfaces, choose))
        measured = (sum(map(len, surfaces.values())) - len(errors)) / len(surfaces)
        median, p90 = np.quantile(errors, [0.5, 0.9])
        _write(f"{measured:.1f} {title} points: median error {median:.3f}, 90th percentile {p90:.3f}")
    return 0


def learn(surfaces: _Surfaces) -> Prior:
    """The mean and covariance of the models' parameters, each fitted to all of its points."""
    fits = [fit_surface(points, _IGNORANT).parameters for points in surfaces.values()]
    logs = np.log([(fit.host_ms, fit.serial_ms, fit.fixed_work, fit.work) for fit in fits])
    # A little wider than the sample, which is small and of one kind of model, and free in scale: another GPU
    # or stack may well be e^2 times as fast, in all parameters alike.
    covariance = 1.1 * np.cov(logs.T) + 0.05 * np.eye(4) + 2.0**2
    return replace(
        POPULATION, log_mean=tuple(logs.mean(axis=0)), log_covariance=tuple(map(tuple, covariance))
    )


def held_out_errors(surfaces: _Surfaces, choose: Choose) -> list[Floats]:
    """For each model |fitted / measured - 1| at the points that `choose` leaves, in order of the folds."""
    names = sorted(surfaces)
    errors = []
    for fold in range(_FOLDS):
        others = {name: surfaces[name] for index, name in enumerate(names) if index % _FOLDS != fold}
        prior = learn(others)
        errors += [
            _errors(surfaces[name], choose(surfaces[name], prior), prior) for name in names[fold::_FOLDS]
        ]
    return errors


def chosen_points(points: Sequence[Point], prior: Prior) -> Sequence[Point]:
    """The first points that a profiler would measure."""
    return _designed(points, prior, lambda design: len(design.points) == _POINTS)


def enough_points(points: Sequence[Point], prior: Prior) -> Sequence[Point]:
    """The points with which a profiler would know the surface well enough."""
    return _designed(points, prior, lambda design: design.expected_error() <= _TOLERANCE)


def _designed(
    points: Sequence[Point], prior: Prior, is_done: Callable[[SequentialDesign], bool]
) -> Sequence[Point]:
    measurable = {(point.gpu_percent, point.batch): point for point in points}
    design = SequentialDesign(tuple(measurable), _COST, prior)
    while not is_done(design) and (run := design.next_run()):
        design.add(measurable[run])
    return design.points


def fixed_points(points: Sequence[Point], _: Prior) -> Sequence[Point]:
    """The same runs for every model; fewer where one of them was not measured."""
    return [point for point in points if (point.gpu_percent, point.batch) in _FIXED_DESIGN]


def _errors(points: Sequence[Point], measured: Sequence[Point], prior: Prior) -> Floats:
    rest = [point for point in points if point not in measured]
    fitted = fit_surface(measured, prior).latency_ms(
        Runs.of((point.gpu_percent, point.batch) for point in rest)
    )
    errors: Floats = np.abs(fitted / np.array([point.latency_ms for point in rest]) - 1)
    return errors


def _rounded(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:.2f}' for value in values)})"


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
