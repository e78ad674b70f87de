"""What the core says that a rate needs of a GPU, against what a simulated GPU carries."""

from collections.abc import Mapping

import pytest

from kneescale.core.planning.configuration import cheapest_configuration
from kneescale.core.scaling.headroom import needed_permille
from kneescale.core.surfaces.catalog import catalog
from kneescale.sim.scenario import Poisson
from kneescale.sim.systems import SYSTEMS
from kneescale.sim.tenant import Tenant, load_of
from kneescale.sim.trial import Trial, keeps

NEAR = 0.06
PERCENTILE = 99
SURFACES = {model.name: model.surface() for model in catalog()}


def tenants_of(slos_ms: Mapping[str, float]) -> tuple[Tenant, ...]:
    """Models that take a GPU to its fluid bound together, each the same part of it."""
    alone = [Tenant(name, slo_ms, 1.0, SURFACES[name]) for name, slo_ms in slos_ms.items()]
    return tuple(
        Tenant(each.name, each.slo_ms, 1 / (len(alone) * load_of((each,))), each.surface) for each in alone
    )


def needed_by(tenant: Tenant) -> float:
    run = cheapest_configuration(tenant.surface, slo_ms=tenant.slo_ms, rate_rps=tenant.rate_rps)
    return needed_permille(
        run, rate_ips=tenant.rate_rps, dispersion=1.0, slo_ms=tenant.slo_ms, percentile=PERCENTILE
    )


@pytest.mark.parametrize(
    "slos_ms",
    [{"resnet50": 60}, {"vgg19": 200}, {"alexnet": 80, "mobilenet_v2": 80, "resnet50": 80}],
    ids=" ".join,
)
def test_a_gpu_carries_what_the_headroom_says_and_hardly_more(slos_ms: Mapping[str, float]) -> None:
    tenants = tenants_of(slos_ms)
    predicted = 1000 / sum(map(needed_by, tenants))
    trial = Trial(Poisson(), duration_s=20, warmup_s=2)
    (variant,) = SYSTEMS["dstack"]
    carried, too_much = (
        keeps(trial.run(tenants, variant.system, load=factor * predicted), PERCENTILE / 100)
        for factor in (1 - NEAR, 1 + NEAR)
    )
    assert carried
    assert not too_much
