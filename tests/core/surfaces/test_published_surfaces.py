"""The fit's promise, on a published set that is not part of the product (KNEESCALE_PROFILES)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from kneescale.cli.profiles import read_profiles
from kneescale.core.surfaces.catalog import BATCHES, GPU_PERCENTS
from kneescale.core.surfaces.gpu_products import gpu_product
from kneescale.core.surfaces.knee import find_knee
from kneescale.core.surfaces.prediction import EAGER_PYTORCH, predicted_surface
from kneescale.core.surfaces.surface import LatencySurface, Point
from tools.architectures import ARCHITECTURES
from tools.fit_prediction import errors
from tools.fit_prior import Choose, chosen_points, enough_points, fixed_points, held_out_errors

WHERE = os.environ.get("KNEESCALE_PROFILES")

pytestmark = pytest.mark.skipif(
    not WHERE,
    reason="KNEESCALE_PROFILES names no folder with rapp_spatial.csv, made of GitHub's KontonGu/RaPP, commit "
    "600348c1 (docs/quickstart.md)",
)


@pytest.fixture(scope="module")
def surfaces() -> Mapping[str, Sequence[Point]]:
    assert WHERE
    return {profile.model: profile.points for profile in read_profiles(Path(WHERE) / "rapp_spatial.csv")}


@pytest.mark.parametrize("choose", [chosen_points, fixed_points, enough_points])
def test_few_points_of_a_model_held_out_give_the_rest_of_its_surface(
    choose: Choose, surfaces: Mapping[str, Sequence[Point]]
) -> None:
    errors = np.concatenate(held_out_errors(surfaces, choose))
    assert len(errors) > 69 * 50
    assert np.median(errors) <= 0.04
    assert np.quantile(errors, 0.9) <= 0.12


def test_predicted_knees_are_near_the_measured_ones(surfaces: Mapping[str, Sequence[Point]]) -> None:
    product = gpu_product("V100-SXM2-16GB")
    near = 0
    for name, kernels in ARCHITECTURES.items():
        measured = find_knee(LatencySurface.from_points(surfaces[name]))
        predicted = find_knee(predicted_surface(kernels(), product, EAGER_PYTORCH, GPU_PERCENTS, BATCHES))
        assert measured
        assert predicted
        near += abs(measured - predicted) <= 10
    assert near >= 0.8 * len(ARCHITECTURES)


def test_a_prediction_is_near_where_the_gpu_is_what_binds(surfaces: Mapping[str, Sequence[Point]]) -> None:
    bound_by_gpu = np.concatenate([errors(name, surfaces[name], EAGER_PYTORCH)[1] for name in ARCHITECTURES])
    assert np.median(bound_by_gpu) <= 0.12
    assert np.quantile(bound_by_gpu, 0.9) <= 0.25
