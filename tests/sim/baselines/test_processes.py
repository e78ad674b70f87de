"""Triton, fixed batches under MPS, and GSLICE: models in processes that know nothing of each other."""

from functools import partial

import pytest

from kneescale.sim.baselines.fixed_batch_mps import FixedBatchMps
from kneescale.sim.baselines.gslice import Gslice
from kneescale.sim.baselines.processes import largest_within
from kneescale.sim.baselines.static_partitions import Partition, StaticPartitions, best_partition
from kneescale.sim.baselines.triton import ModelConfig, Triton
from kneescale.sim.engine import SchedulerFactory
from tests.sim.serving import flat, mix, serve, shown, surface, tenant


def triton(instances: int = 1, delay: float = 0.0) -> SchedulerFactory:
    return partial(Triton, configs=[ModelConfig(instances, 1, delay)])


def test_triton_takes_what_is_queued_when_an_instance_is_free() -> None:
    record = serve(triton(), [tenant(of=flat(10))], [0, 1, 2, 3])
    assert shown(record) == [("a", 1, 100, 0, 10), ("a", 3, 100, 10, 20)]


def test_triton_waits_for_a_full_batch_no_longer_than_its_delay() -> None:
    record = serve(triton(delay=0.2), [tenant(slo_ms=50, of=flat(10, 2))], [0, 4, 30])
    assert shown(record) == [("a", 2, 100, 4, 14), ("a", 1, 100, 40, 50)]


def test_tritons_instances_run_at_once_and_share_the_gpu() -> None:
    record = serve(triton(instances=2), [tenant(of=flat(10))], [0, 0])
    assert shown(record) == [("a", 2, 100, 0, 10)]
    record = serve(triton(instances=2), [tenant(of=flat(10, 1)), tenant("b", of=flat(10))], [0, 0], [0])
    assert shown(record) == [("a", 1, 100, 0, 30), ("a", 1, 100, 0, 30), ("b", 1, 100, 0, 30)]


def test_tritons_models_are_configured_one_by_one() -> None:
    one_by_one = partial(Triton, configs=[ModelConfig(2, 1, 0), ModelConfig(1, 1, 0)])
    record = serve(one_by_one, [tenant(of=flat(10, 1)), tenant("b", of=flat(10, 1))], [0, 0], [0, 0])
    assert shown(record)[:3] == [("a", 1, 100, 0, 30), ("a", 1, 100, 0, 30), ("b", 1, 100, 0, 30)]
    assert shown(record)[3:] == [("b", 1, 100, 30, 40)]


def test_triton_rejects_what_has_waited_until_no_batch_would_be_in_time() -> None:
    record = serve(triton(), [tenant(slo_ms=25, of=flat(20))], [0, 1, 16])
    assert shown(record) == [("a", 1, 100, 0, 20), ("a", 1, 100, 20, 40)]
    assert record.dropped == [1]


def test_the_largest_batch_takes_no_more_than_its_budget() -> None:
    serial = surface(host_ms=1, work=1000, fixed_work=0)
    one = tenant(slo_ms=90, of=serial)
    assert [largest_within(budget, one) for budget in (0.05, 0.25, 0.5, 1)] == [1, 2, 4, 8]


def test_fixed_batches_start_full_or_when_the_delay_is_over() -> None:
    fixed = partial(FixedBatchMps, budget=0.5, delay=0.2)
    record = serve(fixed, [tenant(slo_ms=50, of=flat(10, 2))], [0, 1, 2, 30])
    assert shown(record) == [("a", 2, 100, 1, 11), ("a", 1, 100, 12, 22), ("a", 1, 100, 40, 50)]


def test_gslice_gives_each_model_a_part_of_its_own() -> None:
    tenants = [tenant("a", slo_ms=200, of=flat(10)), tenant("b", slo_ms=200, of=flat(10))]
    record = serve(partial(Gslice, budget=0.5, headroom=0), tenants, [0, 0], [5])
    assert shown(record) == [("a", 2, 50, 0, 20), ("b", 1, 50, 5, 25)]


def test_gslice_keeps_batches_to_the_oldest_deadline_and_refuses_the_hopeless() -> None:
    one = tenant(slo_ms=30, of=surface(host_ms=1, work=1000, fixed_work=0))
    record = serve(partial(Gslice, budget=0.5, headroom=0), [one], [0, 1, 1, 1, 1])
    assert shown(record) == [("a", 1, 100, 0, 10), ("a", 2, 100, 10, 30)]
    assert record.dropped == [2]


def test_the_partition_is_proportional_where_work_is() -> None:
    tenants = (
        tenant("a", rate_rps=100, of=surface(host_ms=1, work=100, fixed_work=0)),
        tenant("b", rate_rps=300, of=surface(host_ms=1, work=100, fixed_work=0)),
    )
    found = best_partition(tenants, most_instances=1, budget=0.5, headroom=0)
    assert found == [Partition(25, 1), Partition(75, 1)]


def test_models_that_cannot_use_much_get_several_processes() -> None:
    # Every batch takes 10 ms from 10 GPU% on: ten processes of 10 GPU% serve ten times as much as one of 100.
    at_ten = surface(host_ms=10, work=0, fixed_work=100)
    found = best_partition((tenant(of=at_ten),), most_instances=10, budget=0.5, headroom=0)
    assert found == [Partition(10, 10)]
    record = serve(
        partial(StaticPartitions, most_instances=10, budget=0.5, headroom=0), [tenant(of=at_ten)], [0, 1, 2]
    )
    assert shown(record) == [("a", 1, 10, 0, 10), ("a", 1, 10, 1, 11), ("a", 1, 10, 2, 12)]


@pytest.mark.parametrize("most_instances", [1, 4])
@pytest.mark.parametrize("headroom", [0, 2])
def test_the_partition_uses_the_whole_gpu_and_no_more(most_instances: int, headroom: float) -> None:
    found = best_partition(mix(), most_instances, budget=0.5, headroom=headroom)
    left = 100 - sum(partition.total_percent for partition in found)
    assert 0 <= left < min(partition.instances for partition in found)


def test_models_that_no_partition_serves_get_an_equal_share() -> None:
    hopeless = tenant("b", slo_ms=1)
    assert best_partition((tenant(), hopeless), 4, 0.5, 0) == [Partition(50, 1)] * 2


def test_headroom_favours_rare_requests() -> None:
    frequent = tenant("a", rate_rps=1000, of=surface(host_ms=0.1, work=10, fixed_work=0))
    rare = tenant("b", rate_rps=10, of=surface(host_ms=1, work=1000, fixed_work=0))
    plain, raised = (best_partition((frequent, rare), 1, 0.5, headroom)[1] for headroom in (0, 2))
    assert raised.gpu_percent > plain.gpu_percent
