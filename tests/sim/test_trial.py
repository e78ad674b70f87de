from functools import partial
from typing import Any

import numpy as np
import pytest

from kneescale.core.errors import InvalidInputError
from kneescale.core.units import NS_PER_S
from kneescale.sim.baselines.fixed_batch_mps import FixedBatchMps
from kneescale.sim.baselines.temporal import Temporal
from kneescale.sim.engine import scheduled
from kneescale.sim.outcome import outcome_of
from kneescale.sim.record import Record
from kneescale.sim.scenario import Poisson, Trace, Uniform
from kneescale.sim.systems import SYSTEMS, Variant, best_of
from kneescale.sim.tenant import load_of
from kneescale.sim.trial import Trial, capacity, keeps
from tests.sim.serving import flat, mix, tenant

SHORT = Trial(Uniform(), duration_s=2, warmup_s=0.5)
ALONE = (tenant(rate_rps=50, of=flat(10, 1)),)
ALONE_AT_20 = (tenant(rate_rps=20, of=flat(10, 1)),)
TEMPORAL = scheduled(Temporal)


def recorded(*times_s: float) -> Trial:
    """All of a trace of one model, `a`."""
    times_ns = np.round(np.array(times_s) * NS_PER_S).astype(np.int64)
    return Trial(Trace({"a": times_ns}), duration_s=max(times_s) + 1e-6, warmup_s=0)


@pytest.mark.parametrize("name", SYSTEMS)
def test_no_system_passes_the_fluid_bound(name: str) -> None:
    tenants = mix()
    best = best_of(SYSTEMS[name], tenants, SHORT)
    # One request in a hundred may miss, and what came last may be answered after the trial.
    span_ms = 1000 * (SHORT.duration_s - SHORT.warmup_s)
    longer = (span_ms + max(tenant.slo_ms for tenant in tenants)) / span_ms
    assert best.load <= longer / 0.99 / load_of(tenants)


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "ideal"])
def test_no_system_passes_the_ideal(name: str) -> None:
    trial = Trial(Poisson(), duration_s=2, warmup_s=0.5)
    ceiling = best_of(SYSTEMS["ideal"], mix(), trial).load
    assert best_of(SYSTEMS[name], mix(), trial).load <= ceiling


def test_the_capacity_of_one_model_alone_is_the_fluid_bound() -> None:
    assert load_of(ALONE) == pytest.approx(0.5)
    assert capacity(ALONE, TEMPORAL, SHORT) == pytest.approx(2, rel=0.04)


@pytest.mark.parametrize("near", [None, 2.0])
@pytest.mark.parametrize(("attainment", "part"), [(0.5, 2), (0.1, 10)])
def test_what_may_miss_is_carried_beyond_the_fluid_bound(
    attainment: float, part: float, near: float | None
) -> None:
    ideal = SYSTEMS["ideal"][0].system
    load = capacity(ALONE, ideal, SHORT, attainment, near=near)
    assert load * load_of(ALONE) == pytest.approx(part, rel=0.1)


def test_a_search_above_what_can_be_carried_finds_no_more() -> None:
    assert capacity(ALONE, TEMPORAL, SHORT, above=2.05) == pytest.approx(2.05, abs=0.01)
    assert capacity((tenant(slo_ms=5, of=flat(10)),), TEMPORAL, SHORT) == 0


def test_a_capacity_that_is_found_more_finely_is_the_same_less_its_rounding() -> None:
    rounded = capacity(ALONE, TEMPORAL, SHORT)
    fine = capacity(ALONE, TEMPORAL, SHORT, above=rounded, near=rounded, resolution=0.001)
    step = 0.01 / load_of(ALONE)
    assert rounded <= fine < rounded + step
    assert fine == pytest.approx(capacity(ALONE, TEMPORAL, SHORT, resolution=0.001))


@pytest.mark.parametrize("guess", [0.0, 0.6, 1.98, 2.0, 2.02, 50.0])
def test_a_guess_changes_how_long_a_search_takes_and_not_its_end(guess: float) -> None:
    runs: list[float] = []

    def counted(*args: Any, **settings: Any) -> Record:  # noqa: ANN401
        runs.append(args[0][0].rate_rps)
        return TEMPORAL(*args, **settings)

    assert capacity(ALONE, counted, SHORT, near=guess) == capacity(ALONE, TEMPORAL, SHORT)
    if abs(guess - 2) < 0.05:
        assert len(runs) <= 4


def test_the_best_variant_is_found_wherever_it_stands() -> None:
    tenants = (tenant(slo_ms=20, rate_rps=300),)
    variants = [
        Variant(str(budget), scheduled(partial(FixedBatchMps, budget=budget, delay=0.1)))
        for budget in (0.1, 0.5, 0.2)
    ]
    best = best_of(tuple(variants), tenants, SHORT)
    assert best.variant is variants[1]
    assert best.load == pytest.approx(capacity(tenants, variants[1].system, SHORT))


def test_a_start_that_carries_less_may_lead_to_more() -> None:
    tenants = (tenant(slo_ms=20, rate_rps=300),)

    def variant(budget: float, *others: Variant) -> Variant:
        system = scheduled(partial(FixedBatchMps, budget=budget, delay=0.1))
        return Variant(str(budget), system, lambda number, models: others)

    top = variant(0.5)
    low, lower = variant(0.2), variant(0.1, top)
    assert best_of((low, lower), tenants, SHORT).variant is top
    assert best_of((lower, low), tenants, SHORT).variant is top


def test_parameters_are_looked_for_model_by_model_where_each_has_its_own() -> None:
    tenants = (tenant("small", slo_ms=15, rate_rps=300), tenant("large", rate_rps=60, of=flat(10)))
    best = best_of(SYSTEMS["triton"], tenants, SHORT)
    of_all = max(capacity(tenants, variant.system, SHORT) for variant in SYSTEMS["triton"])
    assert best.load > of_all
    assert "/" in best.variant.parameters


def test_a_model_keeps_its_attainment_only_if_all_do() -> None:
    tenants = (tenant("well", rate_rps=20), tenant("never", slo_ms=1, rate_rps=20))
    record = SHORT.run(tenants, TEMPORAL)
    assert [model.attainment for model in outcome_of([record]).models.values()] == [1, 0]
    assert not keeps(record, 0.99)
    assert keeps(SHORT.run(tenants[:1], TEMPORAL), 0.99)


@pytest.mark.parametrize(("attainment", "sent"), [(0.8, 5), (0.9, 10), (0.95, 20), (0.99, 100)])
def test_a_run_goes_on_after_as_many_misses_as_may_be(attainment: float, sent: int) -> None:
    """Of the first two, which come at once, one waits for too long."""
    trial = recorded(0, *range(sent - 1))
    tenants = (tenant(slo_ms=15, rate_rps=1, of=flat(10, 1)),)
    assert keeps(trial.run(tenants, TEMPORAL, least_attainment=attainment), attainment)
    assert not keeps(trial.run(tenants, TEMPORAL), 1)


def test_another_model_changes_no_ones_arrivals() -> None:
    alone = SHORT.run(ALONE, TEMPORAL)
    beside = SHORT.run((*ALONE, tenant("b", rate_rps=1)), TEMPORAL)
    assert alone.sent == beside.sent[:1]


def test_requests_of_the_warm_up_do_not_count() -> None:
    assert SHORT.run(ALONE, TEMPORAL, load=2).sent == [pytest.approx(150, abs=1)]


def test_a_trace_at_little_load_is_cut_and_does_not_wrap_around() -> None:
    trial = Trial(Trace({"a": np.array([0, 10**18], dtype=np.int64)}), duration_s=1)
    assert trial.times(0, "a", 1.0, load=0.001).tolist() == [0]


def test_a_trace_that_would_take_centuries_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^at load 1e-06 the trace takes 1e\+10 s: too long$"):
        recorded(10_000).run(ALONE, TEMPORAL, load=1e-6)


def test_a_trace_that_is_soon_over_at_a_load_is_carried_no_further_than_the_fluid_bound() -> None:
    trial = recorded(*range(60))
    tenants = (tenant(slo_ms=500, rate_rps=1, of=flat(10, 1)),)
    # The bound is 100: one play takes 0.6 s there, hardly more than an SLO.
    assert capacity(tenants, TEMPORAL, trial) == pytest.approx(100, rel=0.06)
    assert capacity(tenants, SYSTEMS["ideal"][0].system, trial) <= 1.05 * 100 / 0.99


def test_a_trace_that_mostly_rests_is_carried_as_far_as_its_busy_part() -> None:
    busy = [number / 20 for number in range(100)]
    rests = recorded(*(10_000 + time_s for time_s in busy))
    tenants = (tenant(rate_rps=100 / 10_005, of=flat(10, 1)),)
    of_busy = capacity(ALONE_AT_20, TEMPORAL, recorded(*busy))
    assert of_busy == pytest.approx(5, rel=0.1)
    assert capacity(tenants, TEMPORAL, rests) == pytest.approx(of_busy, rel=0.1)


def test_a_trace_that_no_load_carries_has_no_capacity() -> None:
    never = (tenant(slo_ms=5, rate_rps=1, of=flat(10)),)
    assert capacity(never, TEMPORAL, recorded(*range(60))) == 0
    assert capacity(never, TEMPORAL, recorded(*range(60)), above=0.07) == 0.07


@pytest.mark.parametrize("load", [0.01, 1, 7, 1e6])
def test_the_last_request_of_a_trace_counts_at_any_load(load: float) -> None:
    assert recorded(0, 3.3, 3.3).run(ALONE, TEMPORAL, load=load).sent == [3]
