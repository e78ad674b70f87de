"""Temporal sharing, Clipper, Clockwork, Nexus and gpulet: one batch at a time on the GPU or a partition."""

from functools import partial

import pytest

from kneescale.sim.baselines.clipper import Clipper
from kneescale.sim.baselines.clockwork import Clockwork
from kneescale.sim.baselines.duty_cycles import DutyCycle, Planned, squishy
from kneescale.sim.baselines.gpulet import Gpulet
from kneescale.sim.baselines.nexus import Nexus
from kneescale.sim.baselines.temporal import Temporal
from kneescale.sim.tenant import Tenant
from tests.sim.serving import flat, serve, shown, surface, tenant

#: 10 ms for each item of a batch on the whole GPU.
SERIAL = surface(host_ms=1, work=1000, fixed_work=0)
CLIPPER = partial(Clipper, objective=1, in_turns=True)


def on_whole_gpu(*tenants: Tenant, headroom: float = 1) -> DutyCycle:
    plans = {model: Planned(tenant, 100, headroom * tenant.rate_rps) for model, tenant in enumerate(tenants)}
    return squishy(100, plans)


def test_temporal_sharing_runs_the_earliest_deadline_with_what_it_allows() -> None:
    tenants = [tenant("soon", slo_ms=40, of=SERIAL), tenant("late", slo_ms=90, of=flat(10))]
    record = serve(Temporal, tenants, [0, 1, 1, 1], [0])
    assert shown(record) == [("soon", 1, 100, 0, 10), ("soon", 3, 100, 10, 40), ("late", 1, 100, 40, 50)]


def test_temporal_sharing_refuses_what_nothing_can_answer_in_time() -> None:
    record = serve(Temporal, [tenant(slo_ms=15, of=SERIAL)], [0, 1, 6])
    assert shown(record) == [("a", 1, 100, 0, 10), ("a", 1, 100, 10, 20)]
    assert record.dropped == [1]


def test_clippers_batches_grow_by_one_while_they_are_in_time() -> None:
    record = serve(CLIPPER, [tenant(slo_ms=500, of=flat(10))], [0] * 12)
    assert [run.batch for run in record.runs] == [1, 2, 3, 4, 2]


def test_clippers_batches_shrink_by_a_tenth_when_they_are_late() -> None:
    record = serve(partial(Clipper, objective=0.35, in_turns=True), [tenant(slo_ms=100, of=SERIAL)], [0] * 20)
    # 4 items take 40 ms: over the objective of 35 ms, so the largest batch falls to 3.6.
    assert [run.batch for run in record.runs] == [1, 2, 3, 4, 3, 4, 3]


def test_clippers_containers_take_turns_in_the_order_of_their_batches() -> None:
    tenants = [tenant("a", slo_ms=500, of=flat(10)), tenant("b", slo_ms=500, of=flat(10))]
    record = serve(CLIPPER, tenants, [0, 0, 0], [1, 1, 1])
    assert [run.model for run in record.runs] == [0, 1, 0, 1]


def test_clippers_containers_share_the_gpu_where_they_run_at_once() -> None:
    tenants = [tenant("a", slo_ms=500, of=flat(10)), tenant("b", slo_ms=500, of=flat(10))]
    record = serve(partial(Clipper, objective=1, in_turns=False), tenants, [0, 0], [0])
    assert shown(record) == [("a", 1, 100, 0, 20), ("b", 1, 100, 0, 20), ("a", 1, 100, 20, 30)]


def test_clockwork_runs_the_earliest_latest_start() -> None:
    tenants = [tenant("short", slo_ms=60, of=flat(5)), tenant("long", slo_ms=70, of=flat(40))]
    assert [shown(serve(Clockwork, tenants, [0], [0]))[0][0]] == ["long"]
    assert [shown(serve(Temporal, tenants, [0], [0]))[0][0]] == ["short"]


def test_clockwork_takes_the_largest_batch_in_time_and_refuses_the_hopeless() -> None:
    record = serve(Clockwork, [tenant(slo_ms=30, of=SERIAL)], [0, 1, 1, 1, 1])
    assert shown(record) == [("a", 1, 100, 0, 10), ("a", 2, 100, 10, 30)]
    assert record.dropped == [2]


def test_squishy_bin_packing_by_hand() -> None:
    # a alone: batch 6, for 5 more come within 50 ms and take 60 ms at the end of 110; but 5 are half the SLO.
    a = tenant("a", slo_ms=110, rate_rps=100, of=SERIAL)
    with_one = on_whole_gpu(a)
    assert with_one.batches == {0: 5}
    assert with_one.occupancy == pytest.approx(1)
    # b alone: one request each 100 ms; its cycle of 80 ms (SLO less its batch) is longer than a's 50 ms.
    b = tenant("b", slo_ms=90, rate_rps=10, of=SERIAL)
    both = on_whole_gpu(a, b)
    assert both.batches == {0: 5, 1: 1}
    assert both.occupancy == pytest.approx(1.2)


def test_what_is_too_much_for_a_partition_fills_it_so_many_times_over() -> None:
    """5 items take 50 ms, half the SLO: 100 come per second and are just served, of 150 half as many more."""
    fills, floods = (tenant(slo_ms=110, rate_rps=rate_rps, of=SERIAL) for rate_rps in (100, 150))
    assert [on_whole_gpu(of_one).occupancy for of_one in (fills, floods)] == pytest.approx([1, 1.5])
    assert on_whole_gpu(floods).batches == {0: 5}


def test_headroom_plans_larger_batches() -> None:
    rare = tenant(rate_rps=10, slo_ms=200, of=SERIAL)
    assert on_whole_gpu(rare).batches == {0: 2}
    assert on_whole_gpu(rare, headroom=2).batches == {0: 4}


def test_nexus_takes_turns_with_planned_batches() -> None:
    tenants = [
        tenant("a", slo_ms=200, rate_rps=20, of=flat(10)),
        tenant("b", slo_ms=200, rate_rps=5, of=flat(10)),
    ]
    batches = on_whole_gpu(*tenants).batches
    record = serve(partial(Nexus, headroom=1), tenants, [0] * 9, [0] * 2)
    assert [(run.model, run.batch) for run in record.runs][:4] == [
        (0, batches[0]),
        (1, batches[1]),
        (0, batches[0]),
        (1, 2 - batches[1]),
    ]


def test_nexus_drops_early_what_would_keep_the_next_batch_small() -> None:
    one, other = tenant("a", slo_ms=60, of=SERIAL), tenant("b", slo_ms=200, of=flat(35))
    assert on_whole_gpu(one).batches == {0: 3}
    # A batch of 3 from 45 ms on is too late for the request of 11 ms, though one of 2 would not be.
    record = serve(partial(Nexus, headroom=1), [one, other], [0, 11, 40, 40, 40], [1])
    assert shown(record) == [("a", 1, 100, 0, 10), ("b", 1, 100, 10, 45), ("a", 3, 100, 45, 75)]
    assert record.dropped == [1, 0]


def test_gpulet_runs_its_partitions_at_once() -> None:
    tenants = [tenant("a", slo_ms=200, of=flat(10)), tenant("b", slo_ms=200, of=flat(10))]
    record = serve(partial(Gpulet, partitions=(50, 50), headroom=1), tenants, [0], [0])
    assert shown(record) == [("a", 1, 50, 0, 20), ("b", 1, 50, 0, 20)]


def test_gpulet_gives_the_larger_partition_to_the_larger_need() -> None:
    tenants = [
        tenant("a", slo_ms=400, rate_rps=10, of=SERIAL),
        tenant("b", slo_ms=400, rate_rps=60, of=SERIAL),
    ]
    record = serve(partial(Gpulet, partitions=(20, 80), headroom=1), tenants, [0], [0])
    assert {run.model: run.gpu_percent for run in record.runs} == {0: 20, 1: 80}


@pytest.mark.parametrize(
    ("more", "together"),
    [
        pytest.param(0, {(0, 1), (2, 3, 4)}, id="of few models all ways are tried: 0.6 and 0.6"),
        pytest.param(6, {(0, 1, 2, 3), (4, 5, 6, 7, 8, 9, 10)}, id="of many the best fit: 1 and 0.26"),
    ],
)
def test_gpulet_places_models_side_by_side(more: int, together: set[tuple[int, ...]]) -> None:
    """One item each 100 ms, which takes 30 or 20 of them on half of the GPU, or 1 of each further model."""
    times_ms = (15, 15, 10, 10, 10, *[0.5] * more)
    tenants = [tenant(str(ms), slo_ms=400, rate_rps=10, of=flat(ms, 1)) for ms in times_ms]
    record = serve(partial(Gpulet, partitions=(50, 50), headroom=1), tenants, *[[0]] * len(tenants))
    assert {
        tuple(sorted(run.model for run in record.runs if run.tag == partition)) for partition in (0, 1)
    } == together


def test_gpulet_serves_a_model_that_is_too_much_for_a_partition_on_both() -> None:
    """Half of the GPU serves 50 items of `a` per second; with the rest and those of `b` the other has 30."""
    tenants = [
        tenant("a", slo_ms=400, rate_rps=70, of=SERIAL),
        tenant("b", slo_ms=400, rate_rps=10, of=SERIAL),
    ]
    record = serve(partial(Gpulet, partitions=(50, 50), headroom=1), tenants, [0] * 20, [0])
    assert {(run.model, run.tag) for run in record.runs} == {(0, 0), (0, 1), (1, 1)}
