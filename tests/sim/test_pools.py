"""Pools that were tried out."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st

from kneescale.core.planning.fluid import Workload
from kneescale.core.planning.lane_queueing import Pool
from kneescale.core.planning.lanes import demands_in_proportion, proposed_pools
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.sim.dispatched import on_pools
from kneescale.sim.engine import scheduled
from kneescale.sim.outcome import outcome_of
from kneescale.sim.pools import choose_pools
from kneescale.sim.scenario import Poisson
from kneescale.sim.tenant import Tenant, load_of
from kneescale.sim.trial import Trial
from tests.core.planning.catalog_workloads import SURFACES, workload


class CountedSurface(LatencySurface):
    """Counts how often any of its kind is looked at."""

    looks: ClassVar[int] = 0

    def latency_ms(self, gpu_percent: int, batch: int) -> float:
        CountedSurface.looks += 1
        return super().latency_ms(gpu_percent, batch)


def test_what_was_chosen_once_is_remembered_until_more_changes_than_the_load() -> None:
    def looks_of_a_choice(*rates_rps: float) -> int:
        surface = CountedSurface.from_points(SURFACES["alexnet"].points)
        before = CountedSurface.looks
        workloads = [Workload(str(n), rate, 40, {"": surface}) for n, rate in enumerate(rates_rps)]
        choose_pools(workloads, "", 3)
        return CountedSurface.looks - before

    assert looks_of_a_choice(100, 50) > 0
    assert looks_of_a_choice(100, 50) == 0
    assert looks_of_a_choice(100, 51) > 0


@given(load=st.floats(0.01, 100))
@settings(deadline=None)
def test_the_pools_depend_on_the_proportions_of_the_rates_alone(load: float) -> None:
    rates = {"alexnet": 100, "resnet50": 40}

    def pools(load: float) -> dict[str, tuple[int, ...]]:
        return choose_pools(
            [Workload(name, load * rate, 40, {"": SURFACES[name]}) for name, rate in rates.items()], "", 3
        )

    assert pools(load) == pools(1)


def test_what_is_chosen_serves_better_than_what_the_formula_thinks_the_likeliest() -> None:
    """With arrivals other than those of the choice."""
    names = ("efficientnet_b2", "wide_resnet101_2", "vgg11")
    workloads = [workload(name, area_percent=33, slo_factor=2.5) for name in names]
    chosen = choose_pools(workloads, "", 2)
    demands = demands_in_proportion(workloads, "")
    likeliest = dict(zip(names, proposed_pools(demands, 2)[0], strict=True))
    assert _worst_attainment(workloads, chosen) > _worst_attainment(workloads, likeliest) + 0.05


def _worst_attainment(workloads: Sequence[Workload], pools: Mapping[str, Pool]) -> float:
    tenants = tuple(Tenant(each.name, each.limit_ms, each.rate_rps, each.surfaces[""]) for each in workloads)
    load = 0.85 / load_of(tenants)
    trial = Trial(Poisson(), duration_s=8, warmup_s=1, seed=(9,))
    record = trial.run(tenants, scheduled(partial(on_pools, pools=pools)), load=load)
    attainment = outcome_of([record]).attainment
    assert attainment is not None
    return attainment
