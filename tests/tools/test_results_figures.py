"""Figures of many jobs are brought together fairly."""

import pytest

from tools.results.figures import Results
from tools.results.study import Capacity


def results_of(**fractions: tuple[float, ...]) -> Results:
    return Results({f"capacity/mix/{name}": Capacity(each, "") for name, each in fractions.items()})


def test_a_ratio_is_of_the_seeds_that_both_have() -> None:
    results = results_of(dstack=(0.9, 0.8, 0.1), triton=(0.5, 0.35))
    assert results.ratio("mix", "triton") == pytest.approx(0.85 / 0.425)
    assert results.ratio("mix", "dstack", "triton") == pytest.approx(0.425 / 0.85)


def test_what_carries_nothing_counts_as_a_hundredth() -> None:
    assert results_of(dstack=(0.9,), nexus=(0.0,)).ratio("mix", "nexus") == pytest.approx(90)
