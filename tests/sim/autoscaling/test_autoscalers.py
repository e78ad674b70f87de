"""What autoscalers make of traffic that changes."""

from dataclasses import replace

import numpy as np
import pytest

from kneescale.core.errors import InfeasibleError
from kneescale.sim.autoscaling.autoscalers import AUTOSCALERS, ORACLE, Choice, try_choice
from kneescale.sim.autoscaling.kneescale import Kneescale
from kneescale.sim.autoscaling.oracle import Oracle
from kneescale.sim.autoscaling.run import run_autoscaler
from kneescale.sim.autoscaling.scene import Scene
from kneescale.sim.scenario import Bursty, ScenarioGpu, Shaped, Trace
from kneescale.sim.shapes import SHAPES
from tests.sim.autoscaling.scenes import scene
from tests.sim.serving import flat

CHOICES = [
    pytest.param(choice, id=f"{name} {choice.parameters}")
    for name, choices in AUTOSCALERS.items()
    for choice in choices
]
STEP = Shaped(SHAPES["step"])


def on_products(**latencies_ms: float) -> Scene:
    """One model of single items that take a whole GPU for so long by its product, and one GPU of each."""
    of, surfaces = scene(20), {product: flat(ms, 1) for product, ms in latencies_ms.items()}
    gpus = tuple(ScenarioGpu(product, product) for product in surfaces)
    models = (replace(of.models[0], surfaces=surfaces),)
    return replace(of, scenario=replace(of.scenario, models=models, gpus=gpus))


@pytest.mark.parametrize("choice", CHOICES)
def test_the_same_seed_gives_the_same_result_and_another_seed_another(choice: Choice) -> None:
    first, second, other = (
        try_choice(choice, scene(60, STEP, duration_s=30, seed=seed)).figures for seed in (1, 1, 2)
    )
    assert first == second
    assert first != other


@pytest.mark.parametrize("choice", CHOICES)
def test_no_request_is_counted_twice_or_not_at_all(choice: Choice) -> None:
    of = scene(60, STEP, duration_s=40)
    (requests,) = run_autoscaler(choice.make(of), of).requests
    assert np.array_equal(np.round(requests.arrived_s * 1e9), of.arrivals[0])


def test_a_step_is_followed_within_seconds_and_soon_carried() -> None:
    of = scene(80, STEP, duration_s=120)
    course = run_autoscaler(Kneescale(of), of)
    assert course.provided[0, 38] < 40
    assert course.provided[0, 46] > 60
    assert course.replicas[0, 38] == 1
    assert course.replicas[0, 46 + 8] >= 2
    requests = course.requests[0]
    late = requests.arrived_s > 40 + 15
    assert (requests.waits_ms[late] <= 200).mean() > 0.98


def test_nothing_changes_while_nobody_measures() -> None:
    of = scene(30)
    autoscaler = Kneescale(of)
    plan = autoscaler.first()
    assert autoscaler.next({"a": []}, 2) == plan
    assert autoscaler.next({"a": []}, 600) == plan


def test_the_oracle_is_ready_when_the_step_comes() -> None:
    of = scene(80, STEP, duration_s=60)
    course = run_autoscaler(Oracle(of), of)
    assert course.replicas[0, 19] == 1
    assert course.replicas[0, 20] >= 2
    figures = try_choice(AUTOSCALERS[ORACLE][0], of).figures
    assert figures.after_step is not None
    assert figures.after_step > 0.98


def test_bursts_are_paid_for_and_held() -> None:
    of = scene(30, Bursty(), duration_s=60)
    bursty, calm = (try_choice(Choice("", Oracle), each).figures for each in (of, scene(30)))
    assert bursty.reserved_gpus > 1.1 * calm.reserved_gpus


def test_a_recorded_trace_is_followed_at_the_rate_that_it_has() -> None:
    times = np.arange(0, 60 * 10**9, 10**9 // 30, dtype=np.int64)
    of = scene(30, Trace({"a": times}), duration_s=60)
    assert of.rates_rps.shape == (1, 60)
    assert of.rates_rps[0] == pytest.approx(30, rel=0.01)
    doubled = replace(of, load=2.0)
    assert doubled.duration_s == 30
    assert doubled.rates_rps[0] == pytest.approx(60, rel=0.01)
    assert try_choice(Choice("", Kneescale), of).figures.otherwise == 1


def test_the_rate_of_a_trace_is_over_the_seconds_that_it_lasts() -> None:
    times = np.arange(0, 65 * 10**8, 10**9 // 30, dtype=np.int64)
    of = scene(30, Trace({"a": times}), duration_s=6.5)
    assert of.rates_rps.shape == (1, 7)
    assert of.rates_rps[0] == pytest.approx(30, rel=0.01)


@pytest.mark.parametrize("name", ["kneescale", "oracle", "hpa-rate", "knative"])
def test_a_product_that_a_model_has_no_run_on_is_done_without(name: str) -> None:
    # Half the SLO is 100 ms.
    of = on_products(slow=101, fast=20)
    (choice, *_) = AUTOSCALERS[name]
    plan = choice.make(of).first()
    assert {place.gpu for place in plan["a"].terms} == {"fast"}


@pytest.mark.parametrize("name", AUTOSCALERS)
def test_a_model_without_a_run_on_any_product_is_refused_with_each_ones_reason(name: str) -> None:
    of = on_products(slow=101, slower=150)
    (choice, *_) = AUTOSCALERS[name]
    with pytest.raises(InfeasibleError, match=r"model a: slow: even .* 101 ms; .*; slower: even .* 150 ms; "):
        choice.make(of).first()
