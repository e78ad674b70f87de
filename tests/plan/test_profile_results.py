"""What a profiling Job leaves behind, as a profile, or as a sentence on what is wrong with it."""

import pytest

from kneescale.api.codec import decode, encode
from kneescale.api.inference_model import parse_inference_model
from kneescale.api.model_profile import Stack
from kneescale.api.vocabulary import SurfacePoint
from kneescale.core.backends import Backend, ModelFormat
from kneescale.core.errors import InvalidInputError
from kneescale.plan.needs import Need
from kneescale.plan.profile_results import parse_result
from kneescale.plan.profiles import Subject, make_profile
from tests.plan.cluster import PRODUCT, model

NEED = Need(
    Subject("default", "catalog://resnet50", ModelFormat.EMULATED, PRODUCT, Backend.EMULATED),
    parse_inference_model(model("resnet50")),
    (),
)


def test_a_result_becomes_a_profile() -> None:
    spec = parse_result(NEED, Stack(driver_version="580.1.0"), '{"points": [[20, 1, 9000], [100, 1, 4000]]}')
    assert [(point.gpu_percent, point.batch, point.latency_microseconds) for point in spec.points] == [
        (20, 1, 9000),
        (100, 1, 4000),
    ]
    assert (spec.model_uri, spec.product_name, spec.source) == ("catalog://resnet50", PRODUCT, "Measured")
    assert spec.stack == Stack(driver_version="580.1.0")


def test_what_was_fitted_is_told_from_what_was_measured() -> None:
    spec = parse_result(
        NEED, Stack(), '{"points": [[100, 1, 4000]], "fitted": [[20, 1, 9000]], "expectedErrorPercent": 7}'
    )
    assert [(point.gpu_percent, point.fitted) for point in spec.points] == [(100, False), (20, True)]
    assert (spec.expected_error_percent, spec.prediction_error_percent) == (7, None)
    surface = make_profile("p", spec).surface
    assert (surface.latency_ms(100, 1), surface.latency_ms(20, 1)) == (4, 9)


def test_what_follows_from_a_surface_fits_a_schedule() -> None:
    spec = parse_result(NEED, Stack(), '{"points": [[100, 1, 60000000]]}')
    points = make_profile("p", spec).points_of(lanes=(1, 10, 100), max_batch=128)
    assert [decode(SurfacePoint, encode(each), "point") for each in points] == list(points)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ('{"error": "model.pt: no such\\n file"}', "model.pt: no such file"),
        ("", "the profiling worker ended with '', not with points"),
        ("Killed", "the profiling worker ended with 'Killed', not with points"),
        ('{"points": []}', "not with points"),
        ('{"points": [[20, 1]]}', "not with points"),
        ('{"points": [[20, 1, 9000]], "fitted": 3}', "not with points"),
        ("[]", "not with points"),
        ('{"points": [[120, 1, 9000]]}', "gpuPercent must be between 1 and 100, not 120"),
    ],
)
def test_what_is_no_result_says_so(message: str, error: str) -> None:
    with pytest.raises(InvalidInputError, match=error):
        parse_result(NEED, Stack(), message)
