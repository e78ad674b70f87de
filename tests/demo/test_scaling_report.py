"""What the autoscaling scenario promises, and how it says that a run did not show it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.demo.figures import Outcome
from e2e.demo.scaling_picture import draw_scaling
from e2e.demo.scaling_report import ModelScaling, ScalingReport, Sighting

STEP_AT_S, BACK_AT_S, END_S = 20.0, 60.0, 120.0


def sighting(at_s: float, provided_ips: float, ready: int) -> Sighting:
    return Sighting("vgg19", at_s, 5.0, provided_ips, 50, 2, ready, ready)


def outcomes(late_from_s: float = END_S, late_until_s: float = END_S) -> list[Outcome]:
    """Two requests a second, some of them late."""
    times = [number / 2 for number in range(int(2 * END_S))]
    return [Outcome(at, 900.0 if late_from_s <= at < late_until_s else 90.0, correct=True) for at in times]


FOLLOWED = [sighting(10, 40, 1), sighting(30, 200, 1), sighting(40, 200, 2), sighting(115, 40, 1)]


def report(seen: list[Outcome], sightings: list[Sighting]) -> ScalingReport:
    model = ModelScaling.of("vgg19", 400, seen, sightings, (STEP_AT_S, BACK_AT_S))
    return ScalingReport("local", "v1.36.3", 16, "step", 100.0, (STEP_AT_S, BACK_AT_S), 1.0, (model,))


def test_a_step_that_is_followed_and_given_back_is_shown() -> None:
    shown = report(outcomes(), FOLLOWED)
    assert shown.failures() == []
    assert "50x1 -> 50x2 -> 50x1" in shown.to_text()
    content = json.loads(shown.to_json())
    assert content["emulated"] is True
    assert content["models"][0]["attainment_outside"] == 1.0


@pytest.mark.parametrize(
    ("seen", "sightings", "failure"),
    [
        (outcomes(25, 28), FOLLOWED, "90.0% in time just after a step; the demo promises 95%"),
        (outcomes(40, 45), FOLLOWED, "in time outside the steps; the demo promises 99%"),
        ([*outcomes(), Outcome(50, None, correct=False)], FOLLOWED, "1 of 241 requests got no answer"),
        (outcomes(), [sighting(10, 40, 1), sighting(115, 40, 1)], "15 s after the step no more was provided"),
        (outcomes(), FOLLOWED[:2] + FOLLOWED[3:], "no model was given a second replica"),
        (outcomes(), FOLLOWED[:3], "is not given back at the end"),
        (outcomes(), [*FOLLOWED[:3], sighting(115, 100, 1)], "is not given back at the end"),
    ],
)
def test_what_was_not_shown_is_said(seen: list[Outcome], sightings: list[Sighting], failure: str) -> None:
    assert any(failure in sentence for sentence in report(seen, sightings).failures())


def test_gpus_are_counted_as_long_as_they_were_provided() -> None:
    twice = [sighting(0, 40, 1), sighting(10, 80, 1), sighting(30, 40, 1)]
    steady = [sighting(0, 40, 1), sighting(30, 40, 1)]
    # Ten seconds at once, twenty at twice the rate, and the last one at once again.
    ratio = report(outcomes(), twice).area_over_oracle / report(outcomes(), steady).area_over_oracle
    assert ratio == pytest.approx((10 + 2 * 20 + 1) / 31)
    assert report(outcomes(), twice).models[0].turns == 1


def test_other_traffic_than_the_step_promises_attainment_alone() -> None:
    unmoved = [sighting(10, 40, 1), sighting(115, 40, 1)]
    assert replace(report(outcomes(), unmoved), traffic="daily").failures() == []
    assert replace(report(outcomes(40, 45), unmoved), traffic="daily").failures() != []


def test_long_traffic_promises_few_turns_and_few_gpus() -> None:
    swinging = [sighting(10, 40, 1), sighting(30, 200, 1), sighting(40, 40, 1), sighting(50, 200, 1)]
    swung = replace(report(outcomes(), swinging), traffic="daily", duration_s=600.0)
    frugal = swung.models[0].reserved_gpus / 1.2
    assert replace(swung, oracle_gpus=frugal).failures() == [
        "vgg19: the direction changed 2 times in a minute"
    ]
    assert "1.30 times the oracle's GPUs" in replace(swung, oracle_gpus=frugal * 1.2 / 1.3).failures()[-1]
    assert replace(swung, duration_s=300.0).failures() == []


def test_what_followed_what_is_drawn(tmp_path: Path) -> None:
    draw_scaling(report(outcomes(), FOLLOWED), tmp_path / "autoscale.png")
    assert (tmp_path / "autoscale.png").stat().st_size > 10_000
