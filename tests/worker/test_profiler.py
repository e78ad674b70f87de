"""The profiler without a model or an agent: what it asks for, and what it makes of what it gets."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from kneescale.core.surfaces.catalog import lookup
from kneescale.core.surfaces.profiling_choice import Run, SequentialDesign
from kneescale.core.surfaces.surface import Point
from kneescale.core.tiers import Tier
from kneescale.core.units import NS_PER_S, ms_to_ns
from kneescale.core.wire import Progress
from kneescale_worker.emulated_executor import EmulatedExecutor
from kneescale_worker.errors import AgentError
from kneescale_worker.profile import Profiler, as_served
from kneescale_worker.settings import Settings, parse_settings

PRODUCT = "V100-SXM2-16GB"
GRID = tuple(product((10, 20, 30, 40, 50, 60, 80, 100), (1, 2, 4, 8)))
MODEL = lookup("resnet50", PRODUCT)


class FakeProber:
    """A device that leaves no time for probes of `longest_ms` or more; records what it is asked and told."""

    def __init__(self, longest_ms: float = float("inf")) -> None:
        self._longest_ns = longest_ms * ms_to_ns(1)
        self.asked: list[tuple[Run, int]] = []
        self.refused: list[Run] = []
        self.told: list[Progress] = []

    async def probe(
        self, gpu_percent: int, batch: int, lasts_ns: int, run: Callable[[], object]
    ) -> int | None:
        self.asked.append(((gpu_percent, batch), lasts_ns))
        if lasts_ns >= self._longest_ns:
            self.refused.append((gpu_percent, batch))
            return None
        return ms_to_ns(MODEL.latency_ms(gpu_percent, batch))

    def tell(self, progress: Progress) -> None:
        self.told.append(progress)


@pytest.fixture
def settings() -> Settings:
    return parse_settings(
        {
            "KNEESCALE_MODEL_NAME": "resnet50",
            "KNEESCALE_MODEL_URI": "catalog://resnet50",
            "KNEESCALE_MODEL_FORMAT": "Emulated",
            "KNEESCALE_SOCKET": "/run/kneescale/dispatcher.sock",
            "KNEESCALE_BACKEND": "emulated",
            "KNEESCALE_PRODUCT": PRODUCT,
            "KNEESCALE_MAX_BATCH": "8",
            "KNEESCALE_LANES": "10,100",
        }
    )


def measure(prober: FakeProber, grid: tuple[Run, ...] = GRID, budget_s: int = 60) -> SequentialDesign:
    executor = EmulatedExecutor("catalog://resnet50", PRODUCT)
    return asyncio.run(Profiler(prober, executor, grid, budget_s * NS_PER_S).measure())


def test_it_says_after_each_run_how_far_it_is_until_that_is_enough() -> None:
    prober = FakeProber()
    design = measure(prober)
    assert [progress.measured for progress in prober.told] == list(range(1, len(design.points) + 1))
    assert {progress.runs for progress in prober.told} == {len(GRID)}
    errors = [progress.error_permille for progress in prober.told]
    assert errors[-1] <= 80 < errors[-2]
    assert len(design.points) <= 16


def test_it_says_how_long_a_probe_takes_so_that_nobody_is_made_late_by_it() -> None:
    prober = FakeProber()
    measure(prober)
    first_of: dict[Run, int] = {}
    for run, lasts_ns in prober.asked:
        took_ns = ms_to_ns(MODEL.latency_ms(*run))
        if run in first_of:
            assert lasts_ns == took_ns, "a repeat is known"
        first_of.setdefault(run, lasts_ns)
    _, *later = first_of.items()
    assert all(lasts_ns > 0.8 * ms_to_ns(MODEL.latency_ms(*run)) for run, lasts_ns in later)


def test_runs_that_the_device_leaves_no_time_for_are_fitted_like_the_rest() -> None:
    # One item on the whole GPU takes 21 ms, eight items on a tenth of it 61 ms.
    prober = FakeProber(longest_ms=38)
    design = measure(prober)
    measured = {(point.gpu_percent, point.batch) for point in design.points}
    assert prober.refused
    assert measured.isdisjoint(prober.refused)
    assert measured | {(point.gpu_percent, point.batch) for point in design.fitted_points()} == set(GRID)


def test_points_are_told_as_the_lanes_will_serve_them_which_have_fewer_sms(settings: Settings) -> None:
    design = measure(FakeProber())
    points = [Point(10, 8, MODEL.latency_ms(10, 8)), Point(100, 8, MODEL.latency_ms(100, 8))]
    on_h200 = replace(settings, sm_count=132, tier=Tier.MPS_PROCESSES)
    small, whole = as_served(design, on_h200, {10: 16, 100: 132}, points)
    # Eight items on a tenth are bound by its SMs, 12 where 16 were measured.
    assert small.latency_ms == pytest.approx(points[0].latency_ms * 16 / 12, rel=0.1)
    assert whole == points[1]


def test_points_stay_where_the_lanes_that_were_measured_serve_or_there_are_no_sms(settings: Settings) -> None:
    design, points = measure(FakeProber()), [Point(10, 8, 60.0)]
    on_h200 = replace(settings, sm_count=132, tier=Tier.GREEN_CONTEXTS)
    assert as_served(design, on_h200, {10: 16}, points) == points
    assert as_served(design, settings, {}, points) == points


def test_a_device_that_leaves_no_time_at_all_is_an_error_that_says_so() -> None:
    prober = FakeProber(longest_ms=1)
    with pytest.raises(AgentError, match="models that serve left time for 0 of 32 runs"):
        measure(prober)
    assert len(prober.asked) == 1, "nothing takes less than the fastest run"


def test_what_little_was_measured_in_the_time_is_no_profile_on_a_busy_device() -> None:
    with pytest.raises(AgentError, match="left time for 1 of 3 runs"):
        measure(FakeProber(longest_ms=45), grid=((100, 1), (10, 8), (10, 16)), budget_s=0)
