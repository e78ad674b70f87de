"""The dispatcher against every schedule that there is, where there are few enough to try them all."""

from collections.abc import Iterator, Sequence
from itertools import permutations, product

import numpy as np

from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.sim.arrivals import Requests
from kneescale.sim.engine import Slowness, scheduled
from kneescale.sim.product import dispatched
from kneescale.sim.tenant import Tenant

CASES = 120
MODELS = 4
LANES = (20, 50, 100)

#: (start, end, GPU%)
Placed = tuple[int, int, int]


def test_a_handful_of_requests_is_served_nearly_as_well_as_by_the_best_of_all_schedules() -> None:
    """They arrive together, one for each model; the best schedule knows them all, as the dispatcher does."""
    rng = np.random.default_rng(1)
    cases = [tuple(_tenants(rng)) for _ in range(CASES)]
    best = np.array([_most_in_time(tenants) for tenants in cases])
    ours = np.array([_dispatched_in_time(tenants) for tenants in cases])
    assert np.all(ours <= best), "brute force missed a schedule"
    assert np.any(best < MODELS), "no case is hard"
    assert np.all(ours >= best - 1)
    assert ours.sum() >= 0.95 * best.sum()


def _tenants(rng: np.random.Generator) -> Iterator[Tenant]:
    for number in range(MODELS):
        whole_ms = rng.uniform(4, 20)
        knee_percent = rng.choice(LANES)
        points = [Point(lane, 1, whole_ms * max(1, knee_percent / lane)) for lane in LANES]
        slo_ms = whole_ms * rng.uniform(1.5, 4)
        yield Tenant(f"m{number}", float(slo_ms), 1.0, LatencySurface.from_points(points))


def _dispatched_in_time(tenants: tuple[Tenant, ...]) -> int:
    record = scheduled(dispatched)(
        tenants,
        Requests([np.array([1])] * len(tenants)),
        from_ns=0,
        until_ns=NS_PER_S,
        slowness=Slowness(0.0, np.random.default_rng(1)),
    )
    return sum(record.within_slo)


def _most_in_time(tenants: Sequence[Tenant]) -> int:
    """Over every order and every choice of lanes, each run as early as it fits beside those before it."""
    choices = product(permutations(tenants), product(LANES, repeat=len(tenants)))
    return max(_in_time(order, lanes) for order, lanes in choices)


def _in_time(order: Sequence[Tenant], lanes: Sequence[int]) -> int:
    placed: list[Placed] = []
    in_time = 0
    for tenant, lane in zip(order, lanes, strict=True):
        latency_ns = tenant.latency_ns(lane, 1)
        start_ns = _earliest_ns(placed, latency_ns, lane)
        if start_ns + latency_ns <= tenant.slo_ns:
            placed.append((start_ns, start_ns + latency_ns, lane))
            in_time += 1
    return in_time


def _earliest_ns(placed: Sequence[Placed], latency_ns: int, lane: int) -> int:
    starts_ns = sorted({0, *(end_ns for _, end_ns, _ in placed)})
    return next(start_ns for start_ns in starts_ns if _fits(placed, start_ns, start_ns + latency_ns, lane))


def _fits(placed: Sequence[Placed], start_ns: int, end_ns: int, lane: int) -> bool:
    """Use is highest where a run starts, so only those moments need a look."""
    moments_ns = [start_ns, *(start for start, _, _ in placed if start_ns < start < end_ns)]
    return all(
        lane + sum(percent for start, end, percent in placed if start <= moment_ns < end) <= WHOLE_GPU_PERCENT
        for moment_ns in moments_ns
    )
