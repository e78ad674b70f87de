import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.units import NS_PER_S
from kneescale.sim.record import Record, fair_shares, jain
from kneescale.sim.run import Run
from tests.sim.serving import MS, flat, tenant

demands = st.lists(st.tuples(st.floats(0, 2), st.integers(1, 10)), min_size=1, max_size=8)


def record(*arrivals_ms: int, from_ms: int = 0) -> Record:
    """One model, SLO 50 ms, requests at those times of one second."""
    return Record(
        (tenant(of=flat(10)),), [[ms * MS for ms in arrivals_ms]], from_ms * MS, from_ms * MS + NS_PER_S
    )


def run(first: int, batch: int, end_ms: int) -> Run:
    return Run(0, batch, 100, (end_ms - 10) * MS, first, end_ns=end_ms * MS)


def test_answers_within_the_slo_count_and_late_ones_are_missed() -> None:
    kept = record(0, 10, 20)
    kept.end(run(0, 3, end_ms=60))
    (figures,) = kept.figures()
    assert (figures.sent, figures.answered, figures.within_slo, figures.dropped) == (3, 3, 2, 0)
    assert figures.attainment == pytest.approx(2 / 3)
    assert (figures.p50_ms, figures.mean_batch, figures.goodput_rps) == (50, 3, 2)
    assert kept.missed == [1]


def test_dropped_and_forgotten_requests_are_missed() -> None:
    kept = record(0, 1, 2, 3)
    kept.drop(0, 0, 1)
    kept.end(run(1, 2, end_ms=20))
    (figures,) = kept.figures()
    assert (figures.sent, figures.answered, figures.dropped) == (4, 2, 1)
    assert figures.attainment == 0.5


def test_what_came_during_the_warm_up_does_not_count() -> None:
    kept = record(0, 10, 110, 120, from_ms=100)
    kept.drop(0, 0, 1)
    kept.end(run(1, 2, end_ms=115))
    kept.drop(0, 3, 1)
    (figures,) = kept.figures()
    assert (figures.sent, figures.answered, figures.dropped, figures.within_slo) == (2, 1, 1, 1)


def test_useful_area_is_what_the_answers_cost_at_their_cheapest() -> None:
    kept = record(*range(8))
    kept.end(run(0, 1, end_ms=20))
    # A batch of 8 takes the GPU for 10 ms of the second, so one of its items an eighth of that.
    assert kept.utilization == pytest.approx(0.01 / 8)
    assert kept.granted_area == pytest.approx(0.5)


def test_a_model_without_requests_has_missed_nothing() -> None:
    kept = record()
    assert (kept.attainment, kept.fairness, kept.utilization) == (1, 1, 0)


def test_fairness_compares_service_with_what_is_owed() -> None:
    one, other = tenant("one", of=flat(10, 1)), tenant("other", of=flat(10, 1), weight=3)
    arrivals = [list(range(0, NS_PER_S, 5 * MS))] * 2

    def fairness(of_one: int, of_other: int) -> float:
        kept = Record((one, other), arrivals, 0, NS_PER_S)
        for model, count in enumerate((of_one, of_other)):
            for first in range(count):
                kept.end(Run(model, 1, 100, 0, first, end_ns=10 * MS))
        return kept.fairness

    assert fairness(25, 75) == pytest.approx(1)
    assert fairness(50, 50) == pytest.approx((1 + 2 / 3) ** 2 / 2 / (1 + 4 / 9))
    assert fairness(100, 0) == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("values", "index"), [([1, 1, 1], 1), ([1, 0, 0, 0], 1 / 4), ([2, 4], 0.9), ([], 1), ([0, 0], 1)]
)
def test_jains_index(values: list[float], index: float) -> None:
    assert jain(values) == pytest.approx(index)


@pytest.mark.parametrize(
    ("wanted", "weights", "shares"),
    [
        ([0.1, 0.2], [1, 1], [0.1, 0.2]),
        ([0.1, 2, 2], [1, 1, 1], [0.1, 0.45, 0.45]),
        ([1, 1], [1, 3], [0.25, 0.75]),
        ([0.2, 1, 1], [2, 1, 1], [0.2, 0.4, 0.4]),
    ],
)
def test_fair_shares_of_known_cases(wanted: list[float], weights: list[int], shares: list[float]) -> None:
    assert fair_shares(wanted, weights) == pytest.approx(shares)


@given(demands)
def test_fair_shares_give_nobody_too_much_and_leave_nothing_that_is_wanted(
    wanted: list[tuple[float, int]],
) -> None:
    shares = fair_shares([demand for demand, _ in wanted], [weight for _, weight in wanted])
    assert all(share <= demand + 1e-9 for share, (demand, _) in zip(shares, wanted, strict=True))
    assert sum(shares) == pytest.approx(min(1, sum(demand for demand, _ in wanted)))


@given(demands)
def test_who_gets_less_than_it_wants_has_the_largest_share_for_its_weight(
    wanted: list[tuple[float, int]],
) -> None:
    shares = fair_shares([demand for demand, _ in wanted], [weight for _, weight in wanted])
    levels = [share / weight for share, (_, weight) in zip(shares, wanted, strict=True)]
    short = [
        level
        for level, share, (demand, _) in zip(levels, shares, wanted, strict=True)
        if share < demand - 1e-9
    ]
    assert all(level >= max(levels) - 1e-9 for level in short)
