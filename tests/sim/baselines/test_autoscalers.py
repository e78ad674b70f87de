"""The published autoscalers' rules, on workers that are told what they measure."""

from collections.abc import Sequence

import pytest

from kneescale.core.scaling.arrivals import ArrivalMeter
from kneescale.sim.autoscaling.fleet import Plan, Second, Worker
from kneescale.sim.baselines.autoscalers.hpa import Hpa, busy, request_rate
from kneescale.sim.baselines.autoscalers.knative import Knative
from tests.sim.autoscaling.scenes import scene

# 50 requests a second on each whole GPU; 30 of them at first, so one replica at 60 %.
SCENE = scene(30, gpus=30)
PERIOD_S = 15


def workers(
    plan: Plan, seconds: Sequence[Second], now_s: float, starting: int = 0
) -> dict[str, list[Worker]]:
    """Workers as planned, the last ones not ready yet, that all measured the same."""
    wanted = plan["a"].terms
    made = []
    for index, (place, terms) in enumerate(wanted.items()):
        ready_s = now_s + 1 if index >= len(wanted) - starting else 0.0
        worker = Worker(place, 0, ready_s, terms, None, ArrivalMeter(0))  # type: ignore[arg-type]
        worker.seconds.extend(seconds)
        made.append(worker)
    return {"a": made}


def replicas(plan: Plan) -> int:
    return len(plan["a"].terms)


def used(share: float) -> list[Second]:
    return [Second(0, share, 0.0)] * 20


def hpa_at(number: int) -> tuple[Hpa, Plan]:
    """One with a target of 50 % that has so many replicas, and its plan."""
    hpa = Hpa(SCENE, metric=busy, target=0.5)
    return hpa, hpa._slots.plan({"a": number})


@pytest.mark.parametrize(
    ("number", "share", "then"),
    [(4, 0.75, 6), (4, 0.54, 4), (4, 0.46, 4), (4, 0.25, 2), (1, 1.0, 2), (3, 1.0, 6)],
)
def test_the_hpa_goes_in_proportion_outside_its_tolerance(number: int, share: float, then: int) -> None:
    hpa, plan = hpa_at(number)
    assert replicas(hpa.next(workers(plan, used(share), 15), 15)) == then


def test_the_hpa_goes_up_by_four_or_to_twice_as_many_at_once() -> None:
    hpa, plan = hpa_at(2)
    overloaded = [Second(500, 0, 0.0)] * 20
    hpa._metric = request_rate
    assert replicas(hpa.next(workers(plan, overloaded, 15), 15)) == 6


def test_the_hpa_counts_what_starts_as_idle() -> None:
    hpa, plan = hpa_at(4)
    # Two of four run at the full: all four will at half, which is the target.
    assert replicas(hpa.next(workers(plan, used(1.0), 15, starting=2), 15)) == 4


def test_the_hpa_goes_down_only_after_five_minutes_of_less() -> None:
    hpa, plan = hpa_at(4)
    numbers = [replicas(hpa.next(workers(plan, used(0.5), 15), 15))]
    for now_s in range(30, 400, PERIOD_S):
        plan = hpa.next(workers(plan, used(0.05), now_s), now_s)
        numbers.append(replicas(plan))
    assert numbers[: 300 // PERIOD_S] == [4] * (300 // PERIOD_S)
    assert numbers[-1] == 1


def in_flight(number: float) -> list[Second]:
    return [Second(0, 0.0, number)] * 2


def run_knative(knative: Knative, plan: Plan, totals: Sequence[float]) -> list[int]:
    """Its replicas, two seconds after two seconds, while so many requests are in flight in all."""
    numbers = []
    for index, total in enumerate(totals, start=1):
        now_s = 2 * index
        plan = knative.next(workers(plan, in_flight(total / replicas(plan)), now_s), now_s)
        numbers.append(replicas(plan))
    return numbers


def test_knative_has_a_pod_for_each_target_of_requests_in_flight() -> None:
    # The target is 70 % of 10 planned batches of one.
    knative = Knative(SCENE, target=10)
    assert run_knative(knative, knative._slots.plan({"a": 3}), [20.0] * 40)[-1] == 3
    knative = Knative(SCENE, target=10)
    assert run_knative(knative, knative._slots.plan({"a": 3}), [22.0] * 40)[-1] == 4


def test_knative_panics_within_seconds_and_holds_for_a_minute() -> None:
    knative = Knative(SCENE, target=10)
    calm, surge = [6.0] * 40, [60.0] * 4
    numbers = run_knative(knative, knative.first(), [*calm, *surge, *calm, *calm])
    assert numbers[39] == 1
    most = max(numbers[40:44])
    assert most >= 8
    # The first new pods end what was that bad; nothing goes down for a minute after.
    assert numbers[42 : 40 + 30] == [most] * 28
    assert numbers[-1] == 1


def test_replicas_are_no_more_than_fit() -> None:
    small = scene(30, gpus=3)
    hpa = Hpa(small, metric=busy, target=0.5)
    assert replicas(hpa._slots.plan({"a": 7})) == 3
