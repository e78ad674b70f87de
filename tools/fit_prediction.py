"""Fit what a software stack makes of a GPU to measured latency surfaces; print it and the prediction's error.

    python -m tools.fit_prediction rapp_spatial.csv

The errors are held out: the constants are fitted to every other model and judged on the rest, both ways.
The second line leaves out the runs that the host bounds (less than 1.3 times the fastest of their model): how
fast the host was is in no datasheet.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from kneescale.cli.profiles import read_profiles
from kneescale.core.surfaces.gpu_products import gpu_product
from kneescale.core.surfaces.latency_model import Floats
from kneescale.core.surfaces.prediction import ExecutionStack, predicted_to_measured
from kneescale.core.surfaces.surface import Point
from tools.architectures import ARCHITECTURES

_PRODUCT = gpu_product("V100-SXM2-16GB")
_START = np.log([100, 0.5, 0.5, 1000, 0.3])
#: Errors below it count as noise does: little.
_NOISE = 0.05
_GPU_BOUND = 1.3

_Surfaces = Mapping[str, Sequence[Point]]


def main() -> int:
    """Print the constants, and the held-out errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("csv", type=Path)
    profiles = {profile.model: profile.points for profile in read_profiles(parser.parse_args().csv)}
    surfaces = {name: profiles[name] for name in ARCHITECTURES if name in profiles}
    sys.stdout.write(f"{fit(surfaces)}\n")
    every, gpu_bound = (np.concatenate(errors) for errors in zip(*_held_out_errors(surfaces), strict=True))
    for title, errors in (("all runs", every), ("runs bound by the GPU", gpu_bound)):
        median, p90 = np.quantile(errors, [0.5, 0.9])
        sys.stdout.write(f"{title}: median error {median:.3f}, 90th percentile {p90:.3f} ({len(errors)})\n")
    return 0


def fit(surfaces: _Surfaces) -> ExecutionStack:
    """The stack of the least logarithmic error, outliers damped."""

    def loss(log_constants: Floats) -> float:
        stack = ExecutionStack(*np.exp(log_constants))
        logs = np.concatenate([np.log(_ratio(name, points, stack)) for name, points in surfaces.items()])
        return float(np.mean(np.hypot(logs, _NOISE)))

    best = minimize(loss, _START, method="Nelder-Mead", options={"maxiter": 250})
    return ExecutionStack(*(float(f"{constant:.3g}") for constant in np.exp(best.x)))


def errors(name: str, points: Sequence[Point], stack: ExecutionStack) -> tuple[Floats, Floats]:
    """|predicted / measured - 1| at all points, and at those that the GPU bounds."""
    measured = np.array([point.latency_ms for point in points])
    every = np.abs(_ratio(name, points, stack) - 1)
    return every, every[measured > _GPU_BOUND * measured.min()]


def _held_out_errors(surfaces: _Surfaces) -> list[tuple[Floats, Floats]]:
    names = list(surfaces)
    halves = [{name: surfaces[name] for name in names[start::2]} for start in (0, 1)]
    stacks = [fit(half) for half in reversed(halves)]
    return [
        errors(name, points, stack)
        for half, stack in zip(halves, stacks, strict=True)
        for name, points in half.items()
    ]


def _ratio(name: str, points: Sequence[Point], stack: ExecutionStack) -> Floats:
    return predicted_to_measured(ARCHITECTURES[name](), _PRODUCT, stack, points)


if __name__ == "__main__":
    raise SystemExit(main())
