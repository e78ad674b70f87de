"""What an autoscaler is judged by."""

import numpy as np
import pytest

from kneescale.sim.autoscaling.figures import figures_of, most_turns
from kneescale.sim.autoscaling.run import Course, Requests
from kneescale.sim.scenario import Shaped
from kneescale.sim.shapes import SHAPES
from tests.sim.autoscaling.scenes import scene


@pytest.mark.parametrize(
    ("values", "turns"),
    [
        ([1, 1, 2, 3, 3, 4], 0),
        ([1, 2, 1], 1),
        ([1, 2, 2, 1, 1, 2], 2),
        ([1, 2, 1, *[1] * 60, 2], 1),
        ([], 0),
    ],
)
def test_turns_are_changes_of_direction_within_a_minute(values: list[float], turns: int) -> None:
    assert most_turns(values) == turns


def test_requests_after_a_step_are_counted_apart_and_those_of_the_warmup_not_at_all() -> None:
    of = scene(30, Shaped(SHAPES["step"]), duration_s=120)
    # The warm-up ends at 10 s, the step comes at 40 s and is caught up with at 55 s.
    arrived_s = np.array([5.0, 11.0, 39.0, 40.5, 54.0, 56.0])
    waits_ms = np.array([np.inf, 10.0, 200.0, 201.0, 100.0, np.inf])
    per_second = np.ones(120)
    course = Course(
        [Requests(arrived_s, waits_ms)],
        replicas=np.ones((1, 120), dtype=np.int64),
        provided=np.ones((1, 120)),
        reserved_gpus=2 * np.ones((1, 120)),
        used_gpus=per_second / 2,
    )
    figures = figures_of(course, of)
    assert figures.models["a"].sent == 5
    assert figures.after_step == 1 / 2
    assert figures.otherwise == 2 / 3
    assert figures.attainment == 3 / 5
    assert (figures.reserved_gpus, figures.used_gpus) == (2, 0.5)
    p99_of_slo = figures.over_time.p99_of_slo
    assert p99_of_slo[:6] == [np.inf, 10 / 200, 0, 1, 201 / 200, np.inf]
