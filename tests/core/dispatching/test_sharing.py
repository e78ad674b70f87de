"""What the dispatcher is for, on simulated devices: SLOs kept at loads that sharing in time cannot carry."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from harness.device_loop import DeviceLoop, Load, Result
from kneescale.core.dispatching.dispatcher import Dispatcher, PartitionTerms
from kneescale.core.dispatching.policies import policy_named
from kneescale.core.planning.configuration import choose_configuration
from kneescale.core.surfaces.catalog import lookup
from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.surface import LatencySurface, doubling_batches
from kneescale.core.units import NS_PER_MS, ms_to_ns
from kneescale.core.wire import Role
from tests.core.sample_surfaces import LANES

MAX_BATCH = 16

#: Models of D-STACK's mix C-4 with SLOs in ms: near three times their latency at the knee.
C4 = {"alexnet": 25, "mobilenet_v2": 40, "resnet50": 60, "vgg19": 100}
PAIR = {"resnet50": 60, "vgg19": 100}


def loads(mix: Mapping[str, int], fraction: float) -> dict[str, Load]:
    """Each model takes an equal part of `fraction` of the fluid bound.

    The fluid bound: every item at the least area that any run within its SLO can give it.
    """
    return {name: _load(name, slo_ms, fraction / len(mix)) for name, slo_ms in mix.items()}


def _load(name: str, slo_ms: int, area_share: float) -> Load:
    surface = lookup(name, "V100-SXM2-16GB").surface(LANES, doubling_batches(MAX_BATCH))
    rate_rps = area_share / _least_area_s(surface, slo_ms)
    plan = choose_configuration(surface, slo_ms=slo_ms, rate_rps=rate_rps, lanes=LANES, max_batch=MAX_BATCH)
    slo_ns = ms_to_ns(slo_ms)
    # Messages take time here, and batches may take longer than their surface says.
    margin_ns = slo_ns // 10
    terms = PartitionTerms(Role.SERVE, slo_ns, 1, plan.gpu_percent, plan.batch, LANES, surface, margin_ns)
    return Load(terms, rate_rps)


def _least_area_s(surface: LatencySurface, slo_ms: int) -> float:
    """The least GPU area of one item, in seconds of a whole GPU."""
    runs = (
        (lane, size, surface.latency_ms(lane, size)) for lane in LANES for size in range(1, MAX_BATCH + 1)
    )
    return min(ms / 1000 * lane / 100 / size for lane, size, ms in runs if ms <= slo_ms)


def run(
    policy: str,
    on: Mapping[str, Load],
    *,
    seed: int = 1,
    slowdown: float = 1.0,
    probe_ms: float | None = None,
    lead_ns: int = 0,
) -> Result:
    dispatcher = Dispatcher(policy_named(policy), lead_ns)
    loop = DeviceLoop(dispatcher, on, seed=seed, slowdown=slowdown, probe_ms=probe_ms)
    result = loop.run(duration_s=5)
    for outcome in result.outcomes.values():
        assert len(outcome.waits_ns) + outcome.refused == outcome.arrived
    assert result.peak_percent <= 100
    return result


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_mix_keeps_its_slos_at_70_percent_of_the_fluid_bound(seed: int) -> None:
    assert run("SpatioTemporal", loads(C4, 0.7), seed=seed).worst_attainment >= 0.99


def test_lanes_that_are_granted_on_cost_no_slo() -> None:
    result = run("SpatioTemporal", loads(C4, 0.7), lead_ns=NS_PER_MS)
    assert result.worst_attainment >= 0.99
    assert result.followed > 0.05 * result.grants


def test_batches_that_run_longer_than_their_surface_says_are_absorbed() -> None:
    assert run("SpatioTemporal", loads(C4, 0.6), slowdown=1.1).worst_attainment >= 0.99


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.6])
def test_sharing_in_time_alone_cannot_carry_that(fraction: float) -> None:
    spatio_temporal = run("SpatioTemporal", loads(C4, fraction)).worst_attainment
    assert spatio_temporal >= 0.99
    assert run("Temporal", loads(C4, fraction)).worst_attainment < spatio_temporal - 0.2


@pytest.mark.parametrize(("refuses_late", "most"), [(True, 0.7), (False, 0.3)])
def test_one_models_overload_is_its_own(refuses_late: bool, most: float) -> None:
    mix = loads(C4, 0.4)
    crowded = mix["vgg19"]
    terms = replace(crowded.terms, refuses_late=refuses_late)
    mix["vgg19"] = Load(terms, rate_rps=10 * crowded.rate_rps)
    outcomes = run("SpatioTemporal", mix).outcomes
    assert outcomes["vgg19"].attainment < most
    assert (outcomes["vgg19"].refused > 0) == refuses_late
    others = [outcomes[name].attainment for name in ("alexnet", "mobilenet_v2", "resnet50")]
    assert min(others) >= 0.95


@pytest.mark.parametrize("probe_ms", [None, 2])
@pytest.mark.parametrize(("weight", "refuses_late"), [(1, True), (3, True), (3, False)])
def test_two_saturated_models_share_by_weight_whoever_profiles_beside_them(
    weight: int, refuses_late: bool, probe_ms: float | None
) -> None:
    mix = {
        name: Load(replace(load.terms, refuses_late=refuses_late), rate_rps=4 * load.rate_rps)
        for name, load in loads(PAIR, 1.0).items()
    }
    heavy = mix["vgg19"]
    mix["vgg19"] = replace(heavy, terms=replace(heavy.terms, weight=weight))
    outcomes = run("SpatioTemporal", mix, probe_ms=probe_ms).outcomes
    ratio = outcomes["vgg19"].area_percent_ns / outcomes["resnet50"].area_percent_ns
    assert ratio == pytest.approx(weight, rel=0.2)


@pytest.mark.parametrize("policy", ["SpatioTemporal", "Temporal"])
def test_on_one_lane_a_long_model_does_not_make_a_short_one_late(policy: str) -> None:
    mix = {"long": _one_core(40, slo_ms=400, rate_rps=14), "short": _one_core(0.5, slo_ms=60, rate_rps=60)}
    assert run(policy, mix, slowdown=1.05).worst_attainment >= 0.99


def _one_core(item_ms: float, *, slo_ms: int, rate_rps: float) -> Load:
    """A model on a device with one lane, where a batch gains nothing."""
    figures = Parameters(host_ms=0.1, serial_ms=item_ms, fixed_work=0, work=0)
    surface = figures.surface((100,), doubling_batches(MAX_BATCH))
    return Load(PartitionTerms(Role.SERVE, ms_to_ns(slo_ms), 1, 100, 1, (100,), surface), rate_rps)


@pytest.mark.parametrize(("fraction", "probe_ms", "least"), [(0.1, 2, 300), (0.1, 8, 100), (0.4, 2, 20)])
def test_profiling_beside_them_takes_nothing_from_models_that_serve(
    fraction: float, probe_ms: float, least: int
) -> None:
    mix = loads(C4, fraction)
    alone, beside = run("SpatioTemporal", mix), run("SpatioTemporal", mix, probe_ms=probe_ms)
    assert beside.probes >= least
    for name in mix:
        assert beside.outcomes[name].attainment >= alone.outcomes[name].attainment - 0.001


@pytest.mark.parametrize("probe_ms", [2, 300])
@pytest.mark.parametrize("policy", ["SpatioTemporal", "Temporal"])
def test_a_device_without_time_to_spare_is_not_profiled_on(policy: str, probe_ms: float) -> None:
    mix = loads(C4, 1.2)
    alone, beside = run(policy, mix), run(policy, mix, probe_ms=probe_ms)
    assert beside.probes <= 0.01 * beside.grants
    in_time, in_time_alone = (
        sum(outcome.within_slo for outcome in result.outcomes.values()) for result in (beside, alone)
    )
    assert in_time >= 0.98 * in_time_alone
