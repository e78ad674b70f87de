"""Batch times that part from the surface for good correct it; noise, and single runs, do not."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kneescale.core.dispatching.drift import LEAST_RATIO, LEAST_RUNS, MOST_RATIO, Drift
from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import NS_PER_MS
from tests.core.dispatching.test_dispatcher import whole
from tests.core.partitions import dispatcher

PREDICTED_NS = 10 * NS_PER_MS
SURFACE = LatencySurface.from_points(
    Point(percent, batch, 10.0 * batch * 100 / percent) for percent in (50, 100) for batch in (1, 2)
)


def observe(drift: Drift, ratio: float, *, runs: int, gpu_percent: int = 100, batch: int = 1) -> None:
    for _ in range(runs):
        drift.observe(gpu_percent, batch, PREDICTED_NS, round(ratio * PREDICTED_NS))


def test_there_is_no_ratio_without_evidence() -> None:
    drift = Drift()
    observe(drift, 2.0, runs=LEAST_RUNS - 1)
    assert drift.ratio is None
    assert drift.corrected(SURFACE) == SURFACE


@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.5, 3.0])
def test_the_ratio_is_the_median_of_measured_over_predicted(ratio: float) -> None:
    drift, draw = Drift(), random.Random(1)
    for _ in range(300):
        took_ns = PREDICTED_NS * ratio * draw.choice((0.9, 0.95, 1.0, 1.05, 20))
        drift.observe(100, 1, PREDICTED_NS, round(took_ns))
    assert drift.ratio == pytest.approx(ratio, rel=0.08)


def test_each_region_is_corrected_by_what_was_seen_there_and_the_rest_by_what_was_seen_at_all() -> None:
    drift = Drift()
    observe(drift, 1.0, runs=100, gpu_percent=50)
    observe(drift, 2.0, runs=200)
    corrected = drift.corrected(SURFACE)
    assert corrected.latency_ms(50, 1) == pytest.approx(20, rel=0.05)
    assert corrected.latency_ms(100, 1) == pytest.approx(20, rel=0.05)
    assert drift.ratio is not None
    assert corrected.latency_ms(100, 2) == pytest.approx(20 * drift.ratio)


@pytest.mark.parametrize("noise", [0.05, 0.1])
@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_reason_to_correct(seed: int, noise: float) -> None:
    drift, draw = Drift(), random.Random(seed)
    stale = [
        drift.observe(
            draw.choice((10, 20, 50, 100)),
            draw.choice((1, 2, 4, 8)),
            PREDICTED_NS,
            round(PREDICTED_NS * draw.lognormvariate(0, noise)),
        )
        for _ in range(5_000)
    ]
    assert not any(stale)


def test_corrections_are_few_and_end_when_the_surface_is_right() -> None:
    drift, corrections = Drift(), 0
    for _ in range(5_000):
        if drift.observe(100, 1, PREDICTED_NS, 2 * PREDICTED_NS):
            drift.corrected(SURFACE)
            corrections += 1
    assert 1 <= corrections <= 5


RUNS = st.tuples(st.sampled_from((50, 100)), st.integers(1, 2), st.integers(1, 2**63))


@settings(deadline=None)
@given(st.lists(RUNS, max_size=300))
def test_whatever_a_worker_says_the_correction_stays_within_bounds(runs: list[tuple[int, int, int]]) -> None:
    drift = Drift()
    for gpu_percent, batch, took_ns in runs:
        drift.observe(gpu_percent, batch, PREDICTED_NS, took_ns)
    corrected = drift.corrected(SURFACE)
    for point in SURFACE.points:
        ratio = corrected.latency_ms(point.gpu_percent, point.batch) / point.latency_ms
        # The envelope of a surface may raise a point to a neighbour's, which is at most twice as far up.
        assert LEAST_RATIO * 0.999 <= ratio <= 2 * MOST_RATIO * 1.001


def test_grants_are_planned_with_the_corrected_latency() -> None:
    device = dispatcher(a=whole())
    now_ns = 0
    for _ in range(200):
        device.arrived("a", 8, now_ns)
        (granted,) = device.tick(now_ns)
        planned_ns = granted.grant.finish_by_ns - now_ns
        started_ns, now_ns = now_ns, now_ns + 15 * NS_PER_MS
        device.done("a", granted.grant.grant_id, started_ns, now_ns, now_ns)
    assert planned_ns == pytest.approx(15 * NS_PER_MS, rel=0.11)
    assert device.timing("a").latency_ratio == pytest.approx(1.5, rel=0.05)


def test_a_new_surface_starts_without_corrections() -> None:
    device = dispatcher(a=whole())
    for _ in range(LEAST_RUNS):
        device.arrived("a", 1, 0)
        (granted,) = device.tick(0)
        device.done("a", granted.grant.grant_id, 0, 15 * NS_PER_MS, 15 * NS_PER_MS)
    device.configure({"a": whole(slo_ms=60)})
    assert device.timing("a").latency_ratio is not None
    other = LatencySurface.from_points([Point(100, 8, 12.0)])
    device.configure({"a": whole(surface=other)})
    assert device.timing("a").latency_ratio is None
