import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.sim.fairness import fair_shares, jain

SOME = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5)), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("values", "index"), [([1, 1, 1], 1.0), ([1, 0, 0, 0], 0.25), ([], 1.0), ([0, 0], 1.0), ([3, 1], 0.8)]
)
def test_jains_index(values: list[float], index: float) -> None:
    assert jain(values) == pytest.approx(index)


def test_what_one_does_not_want_goes_to_the_others_by_weight() -> None:
    assert fair_shares([0.1, 2.0, 2.0], [1, 1, 2]) == pytest.approx([0.1, 0.3, 0.6])


@given(SOME)
def test_nobody_gets_more_than_it_wants_and_nothing_wanted_is_left(some: list[tuple[float, int]]) -> None:
    demands, weights = [demand for demand, _ in some], [weight for _, weight in some]
    shares = fair_shares(demands, weights)
    assert all(share <= demand + 1e-9 for share, demand in zip(shares, demands, strict=True))
    assert sum(shares) == pytest.approx(min(1.0, sum(demands)))


@given(SOME)
def test_whoever_wants_more_has_no_less_per_weight_than_anybody(some: list[tuple[float, int]]) -> None:
    demands, weights = [demand for demand, _ in some], [weight for _, weight in some]
    levels = [share / weight for share, weight in zip(fair_shares(demands, weights), weights, strict=True)]
    hungry = [
        level
        for level, demand, weight in zip(levels, demands, weights, strict=True)
        if level * weight < demand - 1e-9
    ]
    assert all(level >= max(levels) - 1e-9 for level in hungry)
