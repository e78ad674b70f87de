import pytest

from kneescale.core.units import NS_PER_S
from kneescale.sim.outcome import ModelOutcome, outcome_of
from kneescale.sim.record import Record
from kneescale.sim.run import Run
from tests.sim.serving import MS, flat, tenant


def record(*arrivals_ms: int, from_ms: int = 0) -> Record:
    """One model, SLO 50 ms, requests at those times of one second."""
    return Record(
        (tenant(of=flat(10)),), [[ms * MS for ms in arrivals_ms]], from_ms * MS, from_ms * MS + NS_PER_S
    )


def run(first: int, batch: int, end_ms: int) -> Run:
    return Run(0, batch, 100, (end_ms - 10) * MS, first, end_ns=end_ms * MS)


def figures_of(kept: Record) -> ModelOutcome:
    (figures,) = outcome_of([kept]).models.values()
    return figures


def test_answers_within_the_slo_count_and_late_ones_are_missed() -> None:
    kept = record(0, 10, 20)
    kept.end(run(0, 3, end_ms=60))
    figures = figures_of(kept)
    assert (figures.sent, figures.answered, figures.within_slo, figures.dropped) == (3, 3, 2, 0)
    assert figures.attainment == pytest.approx(2 / 3)
    assert (figures.p50_ms, figures.mean_batch, figures.goodput_rps) == (50, 3, 2)
    assert kept.missed == [1]


def test_dropped_and_forgotten_requests_are_missed() -> None:
    kept = record(0, 1, 2, 3)
    kept.drop(0, 0, 1)
    kept.end(run(1, 2, end_ms=20))
    figures = figures_of(kept)
    assert (figures.sent, figures.answered, figures.dropped) == (4, 2, 1)
    assert figures.attainment == 0.5


def test_what_came_during_the_warm_up_does_not_count() -> None:
    kept = record(0, 10, 110, 120, from_ms=100)
    kept.drop(0, 0, 1)
    kept.end(run(1, 2, end_ms=115))
    kept.drop(0, 3, 1)
    figures = figures_of(kept)
    assert (figures.sent, figures.answered, figures.dropped, figures.within_slo) == (2, 1, 1, 1)


def test_useful_area_is_what_the_answers_cost_at_their_cheapest() -> None:
    kept = record(*range(8))
    kept.end(run(0, 1, end_ms=20))
    # A batch of 8 takes the GPU for 10 ms of the second, so one of its items an eighth of that.
    assert outcome_of([kept]).utilization == pytest.approx(0.01 / 8)


def test_useful_is_what_ends_in_the_counted_time_whenever_it_came() -> None:
    kept = record(0, 10, 20, 30, 40, 50, from_ms=100)
    for first, end_ms in ((0, 90), (2, 110), (4, 1090), (5, 1110)):
        kept.end(run(first, 1, end_ms=end_ms))
    outcome = outcome_of([kept])
    assert outcome.utilization == pytest.approx(2 * 0.01 / 8)
    assert figures_of(kept).answered == 0


def test_a_backlog_from_the_warm_up_is_no_unfairness() -> None:
    first, other = tenant("first", of=flat(10, 1)), tenant("other", of=flat(10, 1))
    every_10_ms = list(range(0, 2 * NS_PER_S, 10 * MS))
    kept = Record((first, other), [every_10_ms] * 2, NS_PER_S, 2 * NS_PER_S)
    # Both have half of the GPU all the time, one with requests that wait and one that refused its own.
    other_first = 100
    for number in range(50):
        kept.end(Run(0, 1, 100, 0, number, end_ns=NS_PER_S + (20 * number + 10) * MS))
        kept.end(Run(1, 1, 100, 0, other_first + 2 * number, end_ns=NS_PER_S + (20 * number + 20) * MS))
    assert outcome_of([kept]).fairness == pytest.approx(1)


def test_a_model_without_requests_has_no_attainment() -> None:
    outcome = outcome_of([record()])
    assert (outcome.attainment, outcome.fairness, outcome.utilization) == (None, 1, 0)
    assert {model.attainment for model in outcome.models.values()} == {None}
    assert figures_of(record()).p99_ms is None


def test_fairness_compares_service_with_what_is_owed() -> None:
    one, other = tenant("one", of=flat(10, 1)), tenant("other", of=flat(10, 1), weight=3)
    arrivals = [list(range(0, NS_PER_S, 5 * MS))] * 2

    def fairness(of_one: int, of_other: int) -> float:
        kept = Record((one, other), arrivals, 0, NS_PER_S)
        for model, count in enumerate((of_one, of_other)):
            for first in range(count):
                kept.end(Run(model, 1, 100, 0, first, end_ns=10 * MS))
        return outcome_of([kept]).fairness

    assert fairness(25, 75) == pytest.approx(1)
    assert fairness(50, 50) == pytest.approx((1 + 2 / 3) ** 2 / 2 / (1 + 4 / 9))
    assert fairness(100, 0) == pytest.approx(1 / 2)


def test_a_model_on_two_gpus_has_the_answers_of_both() -> None:
    first, second = record(0, 10), record(0)
    first.end(run(0, 2, end_ms=20))
    second.end(run(0, 1, end_ms=60))
    outcome = outcome_of([first, second])
    (figures,) = outcome.models.values()
    assert (figures.sent, figures.answered, figures.within_slo, figures.mean_batch) == (3, 3, 2, 1.5)
    assert figures.p50_ms == 20
    assert outcome.attainment == pytest.approx(2 / 3)
    assert outcome.overall_attainment == pytest.approx(2 / 3)
    # Three items of an eighth of 10 ms, of two GPUs' seconds.
    assert outcome.utilization == pytest.approx(3 * 0.01 / 8 / 2)
