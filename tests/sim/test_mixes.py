import pytest

from kneescale.core.planning.fluid import GpuPool, Workload, fluid_bound
from kneescale.core.surfaces.catalog import catalog
from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.sim.mixes import knee_percent, mix, mix_slo_ms

SURFACES = {model.name: model.surface() for model in catalog()}


@pytest.mark.parametrize("shares", [None, [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]])
def test_a_mix_loads_a_gpu_fully(shares: list[float] | None) -> None:
    some = dict(sorted(SURFACES.items())[:6])
    models = mix(some, shares)
    workloads = [Workload(model.name, model.rate_rps, model.slo_ms, model.surfaces) for model in models]
    bound = fluid_bound(workloads, [GpuPool("", 1)])
    assert bound.load == pytest.approx(1)
    assert [model.area_percent / 100 for model in bound.models] == pytest.approx(shares or [1 / 6] * 6)


def test_an_slo_is_three_times_the_latency_at_the_knee() -> None:
    surface = LatencySurface.from_points(
        [Point(10, 8, 40), Point(30, 8, 10.9), Point(50, 8, 10.5), Point(100, 8, 10)]
    )
    assert knee_percent(surface) == 30
    assert mix_slo_ms(surface) == pytest.approx(32.7)


def test_no_slo_is_under_25_ms() -> None:
    assert mix_slo_ms(LatencySurface.from_points([Point(100, 8, 2)])) == 25
