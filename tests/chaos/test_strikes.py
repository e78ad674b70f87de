"""Faults are drawn from a seed: the same again for the same, and none is left out for long."""

from itertools import pairwise
from statistics import mean

import pytest

from e2e.chaos.strikes import MEAN_GAP_S, draw_strikes

FAULTS = ("a", "b", "c")
HOUR_S = 3600.0


def test_the_same_seed_gives_the_same_strikes_and_another_one_others() -> None:
    assert draw_strikes(FAULTS, HOUR_S, 1) == draw_strikes(FAULTS, HOUR_S, 1)
    assert draw_strikes(FAULTS, HOUR_S, 1) != draw_strikes(FAULTS, HOUR_S, 2)


@pytest.mark.parametrize("seed", range(5))
def test_gaps_are_exponential_with_the_mean_and_all_is_within_the_run(seed: int) -> None:
    times_s = [strike.at_s for strike in draw_strikes(FAULTS, 20 * HOUR_S, seed)]
    gaps_s = [later - earlier for earlier, later in pairwise(times_s)]
    assert mean(gaps_s) == pytest.approx(MEAN_GAP_S, rel=0.1)
    # Of an exponential's values, 1/e are above its mean.
    assert mean(gap > MEAN_GAP_S for gap in gaps_s) == pytest.approx(0.368, abs=0.03)
    assert 0 < min(times_s) <= max(times_s) < 20 * HOUR_S


def test_every_fault_comes_once_before_any_comes_again() -> None:
    drawn = [strike.fault for strike in draw_strikes(FAULTS, HOUR_S, 3)]
    for start in range(0, len(drawn) - 3, 3):
        assert sorted(drawn[start : start + 3]) == sorted(FAULTS)
