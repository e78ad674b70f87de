"""Sums, overlaps, and what to draw where."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.sim.spans import Span, busy_percent, levels, stacked

spans = st.builds(
    lambda model, tenths, start, length: Span(model, tenths * 10, 1, start, start + length),
    st.sampled_from("abc"),
    st.integers(1, 10),
    st.integers(0, 50),
    st.integers(1, 20),
)


def span(gpu_percent: int, start_ns: int, end_ns: int) -> Span:
    return Span("m", gpu_percent, 1, start_ns, end_ns)


def test_a_batch_may_take_over_what_another_gives_back_at_the_same_instant() -> None:
    assert levels([span(60, 0, 10), span(60, 10, 20)]) == [(0, 60), (10, 60), (20, 0)]


@given(st.lists(spans, max_size=12))
def test_spans_running_at_once_never_overlap_in_the_picture(given_spans: list[Span]) -> None:
    placed = stacked(given_spans)
    assert Counter(s for s, _ in placed) == Counter(given_spans)
    for i, (one, low) in enumerate(placed):
        for other, other_low in placed[:i]:
            at_once = one.start_ns < other.end_ns and other.start_ns < one.end_ns
            apart = low >= other_low + other.gpu_percent or other_low >= low + one.gpu_percent
            assert apart or not at_once


@given(st.lists(spans, max_size=12), st.integers(1, 9))
def test_the_strip_keeps_the_area(given_spans: list[Span], buckets: int) -> None:
    area = sum(s.gpu_percent * (s.end_ns - s.start_ns) for s in given_spans)
    percents = busy_percent(given_spans, 0, 70, buckets)
    assert sum(percents) * 70 / buckets == pytest.approx(area)


def test_the_strip_leaves_out_what_is_outside() -> None:
    assert busy_percent([span(50, 0, 100)], 40, 60, 2) == pytest.approx([50, 50])
