from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kneescale.core.units import NS_PER_S
from kneescale.sim.arrivals import Requests, poisson
from kneescale.sim.baselines.temporal import Temporal
from kneescale.sim.baselines.triton import ModelConfig, Triton
from kneescale.sim.engine import Loop, Slowness, scheduled
from kneescale.sim.journal import Journal
from kneescale.sim.outcome import ModelOutcome, outcome_of
from kneescale.sim.product import dispatched
from kneescale.sim.record import Record
from kneescale.sim.scenario import Poisson
from kneescale.sim.systems import SYSTEMS, Variant
from kneescale.sim.tenant import Tenant
from kneescale.sim.trial import Trial
from tests.sim.serving import MS, flat, mix, serve, serve_system, shown, tenant

#: These let processes share the GPU on their own; all others grant GPU%.
UNCONTROLLED = {"clipper", "fixed-batch-mps", "triton", "triton-1-instance"}
VARIANTS = [
    pytest.param(name, variant, id=f"{name} {variant.parameters}")
    for name, variants in SYSTEMS.items()
    for variant in (variants[0], *variants[1:][-1:])
]

arrivals_of_three = st.lists(st.lists(st.integers(0, 400), max_size=40).map(sorted), min_size=3, max_size=3)


def kept(record: Record) -> list[tuple[int, ...]]:
    return [(run.model, run.batch, run.gpu_percent, run.started_ns, run.end_ns) for run in record.runs]


def figures_of(record: Record) -> list[ModelOutcome]:
    return list(outcome_of([record]).models.values())


def most_granted(record: Record) -> int:
    """The largest sum of GPU% at any instant."""
    changes = [(run.started_ns, run.gpu_percent) for run in record.runs]
    changes += [(run.end_ns, -run.gpu_percent) for run in record.runs]
    return max(np.cumsum([percent for _, percent in sorted(changes)]), default=0)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
@settings(max_examples=15)
@given(arrivals_of_three)
def test_no_request_is_lost_or_answered_twice(
    name: str, variant: Variant, arrivals_ms: Sequence[Sequence[int]]
) -> None:
    record = serve_system(variant.system, mix(), *arrivals_ms)
    for model, (figures, of_one) in enumerate(zip(figures_of(record), arrivals_ms, strict=True)):
        runs = [run for run in record.runs if run.model == model]
        answered = [run.first + place for run in runs for place in range(run.batch)]
        assert len(set(answered)) == len(answered) == figures.answered
        assert set(answered) <= set(range(len(of_one)))
        # Half a second is left after the last one, so that none waits any more.
        assert figures.answered + figures.dropped == figures.sent == len(of_one)


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
@settings(max_examples=15)
@given(arrivals_of_three)
def test_no_batch_is_too_large_early_or_over_100_gpu_percent(
    name: str, variant: Variant, arrivals_ms: Sequence[Sequence[int]]
) -> None:
    record = serve_system(variant.system, mix(), *arrivals_ms)
    for run in record.runs:
        assert 1 <= run.batch <= record.tenants[run.model].max_batch
        assert run.started_ns >= arrivals_ms[run.model][run.first + run.batch - 1] * MS
    if name not in {*UNCONTROLLED, "ideal"}:
        assert most_granted(record) <= 100


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_same_seed_gives_the_same_result(name: str) -> None:
    trial = Trial(Poisson(), duration_s=0.5, warmup_s=0.1, noise=0.1)
    system = SYSTEMS[name][0].system
    first, second = (trial.run(mix(), system, load=0.8) for _ in range(2))
    assert kept(first) == kept(second)


@settings(max_examples=25)
@given(arrivals_of_three, st.lists(st.integers(1, 400), max_size=4).map(sorted))
def test_a_loop_that_is_fed_in_parts_does_what_it_does_at_once(
    arrivals_ms: Sequence[Sequence[int]], stops_ms: Sequence[int]
) -> None:
    tenants = mix()
    times = [MS * np.array(of_one, dtype=np.int64) for of_one in arrivals_ms]
    loop = Loop(tenants, dispatched(tenants), no_noise())
    journal = Journal(loop.arrivals_ns)
    for from_ms, until_ms in pairwise((0, *stops_ms, 1000)):
        of_now = [of_one[(from_ms * MS <= of_one) & (of_one < until_ms * MS)] for of_one in times]
        loop.feed(Requests(of_now))
        loop.run(until_ms * MS - 1, journal)
    record = serve(dispatched, tenants, *arrivals_ms)
    for model in range(len(tenants)):
        waits_ms = journal.waits_ms(model)
        assert waits_ms[np.isfinite(waits_ms)].tolist() == waits_by_number(record, model)
        assert len(waits_ms) == record.sent[model]
        assert np.isinf(waits_ms).sum() == record.dropped[model]


def test_what_came_while_the_scheduler_was_blocked_waits() -> None:
    tenants = (tenant("holds", of=flat(10)), tenant("waits", of=flat(10)))
    loop = Loop(tenants, dispatched(tenants), no_noise())
    loop.feed(Requests([np.array([0]), np.array([2 * MS])]))
    loop.run(5 * MS, Journal(loop.arrivals_ns))
    assert not loop.is_idle(0)
    assert not loop.is_idle(1)
    loop.run(50 * MS, Journal(loop.arrivals_ns))
    assert loop.is_idle(0)
    assert loop.is_idle(1)


def waits_by_number(record: Record, model: int) -> list[float]:
    numbers = [run.first + place for run in record.runs if run.model == model for place in range(run.batch)]
    return [wait for _, wait in sorted(zip(numbers, record.waits_ms(model).tolist(), strict=True))]


def test_events_happen_in_their_order() -> None:
    record = serve(Temporal, [tenant(of=flat(10))], [0, 1, 2, 30])
    assert shown(record) == [("a", 1, 100, 0, 10), ("a", 2, 100, 10, 20), ("a", 1, 100, 30, 40)]


def test_what_still_waits_at_the_end_is_missed() -> None:
    record = serve(Temporal, [tenant(slo_ms=30, of=flat(10))], [985, 990, 995])
    (figures,) = figures_of(record)
    assert (figures.sent, figures.answered, figures.within_slo) == (3, 3, 3)
    stuck = partial(Triton, configs=[ModelConfig(1, 1, 1)])
    (figures,) = figures_of(serve(stuck, [tenant(slo_ms=30, of=flat(20))], [995]))
    assert figures.attainment == 0


def test_it_ends_once_a_model_has_missed_more_than_it_may() -> None:
    hopeless = [tenant(slo_ms=30, of=flat(31))]
    requests = Requests([np.arange(0, NS_PER_S, 10 * MS, dtype=np.int64)])
    run = partial(
        scheduled(Temporal), tuple(hopeless), requests, from_ns=0, until_ns=NS_PER_S, slowness=no_noise()
    )
    assert run().missed == [100]
    assert run(allowed_misses=[7]).missed[0] < 100


def no_noise() -> Slowness:
    return Slowness(0, np.random.default_rng(1))


def test_noise_has_the_mean_and_deviation_that_it_should() -> None:
    slowness = Slowness(0.1, np.random.default_rng(1))
    drawn = [slowness.draw() for _ in range(20_000)]
    assert np.mean(drawn) == pytest.approx(1, abs=0.003)
    assert np.std(drawn) == pytest.approx(0.1, abs=0.003)
    assert no_noise().draw() == 1


def test_a_slow_batch_takes_longer() -> None:
    trial = Trial(Poisson(), duration_s=1, warmup_s=0, noise=0.2)
    record = trial.run((tenant(rate_rps=20, of=flat(10, 1)),), scheduled(Temporal))
    assert {run.end_ns - run.started_ns for run in record.runs} != {10 * MS}
    for run in record.runs:
        assert run.end_ns - run.started_ns == pytest.approx(run.slowness * 10 * MS, abs=1)


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_one_model_at_batch_one_waits_as_in_an_m_d_1_queue(load: float) -> None:
    # Pollaczek and Khinchine: the mean wait is load * service / (2 * (1 - load)).
    one = Tenant("a", slo_ms=10_000, rate_rps=load * 100, surface=flat(10, 1))
    record = Trial(Poisson(), duration_s=400, warmup_s=0).run((one,), scheduled(Temporal))
    arrivals = poisson(load * 100, 400, np.random.default_rng([1, 1]))
    waits_ms = [(run.started_ns - arrivals[run.first]) / MS for run in record.runs]
    assert np.mean(waits_ms) == pytest.approx(load * 10 / (2 * (1 - load)), rel=0.06)
