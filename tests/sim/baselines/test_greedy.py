from functools import partial

import pytest

from kneescale.sim.baselines.max_min import MaxMin
from kneescale.sim.baselines.max_throughput import MaxThroughput
from kneescale.sim.engine import SchedulerFactory
from tests.sim.serving import flat, serve, shown, surface, tenant

#: At its knee of 20 GPU% 10 ms, on the whole GPU as well; at 10 GPU% 20 ms.
KNEE = surface(host_ms=10, work=0, fixed_work=200)


def at_knee(make: type[MaxThroughput | MaxMin]) -> SchedulerFactory:
    return partial(make, knee=1.1)


def free(make: type[MaxThroughput | MaxMin]) -> SchedulerFactory:
    return partial(make, knee=None)


@pytest.mark.parametrize("make", [MaxThroughput, MaxMin])
def test_each_model_has_one_process_at_its_knee(make: type[MaxThroughput | MaxMin]) -> None:
    tenants = [tenant("a", of=KNEE), tenant("b", of=KNEE)]
    record = serve(at_knee(make), tenants, [0, 1], [0])
    assert shown(record) == [("a", 1, 20, 0, 10), ("b", 1, 20, 0, 10), ("a", 1, 20, 10, 20)]


def test_free_lanes_take_the_cheapest_run_that_is_in_time() -> None:
    cheap = surface(host_ms=10, work=0, fixed_work=100)
    record = serve(free(MaxThroughput), [tenant(of=cheap)], [0, 1])
    assert shown(record) == [("a", 1, 10, 0, 10), ("a", 1, 10, 1, 11)]
    hurried = serve(free(MaxThroughput), [tenant(slo_ms=4, of=flat(4))], [0])
    assert shown(hurried) == [("a", 1, 100, 0, 4)]


def test_max_throughput_starves_the_expensive_model() -> None:
    tenants = [tenant("dear", slo_ms=300, of=flat(20)), tenant("cheap", slo_ms=300, of=flat(10))]
    record = serve(at_knee(MaxThroughput), tenants, [0], list(range(0, 100, 2)))
    assert [name for name, *_ in shown(record)][:5] == ["cheap"] * 5


def test_max_min_serves_the_poorest_first() -> None:
    tenants = [tenant("dear", slo_ms=300, of=flat(20)), tenant("cheap", slo_ms=300, of=flat(10))]
    record = serve(at_knee(MaxMin), tenants, [0] * 20, [0] * 60)
    assert [name for name, *_ in shown(record)][:6] == ["dear", "cheap", "cheap", "dear", "cheap", "cheap"]


def test_an_idle_model_gains_no_credit() -> None:
    tenants = [tenant("a", slo_ms=300, of=flat(10, 1)), tenant("b", slo_ms=300, of=flat(10, 1))]
    record = serve(at_knee(MaxMin), tenants, [0] * 20, [95] * 4)
    names = [name for name, *_ in shown(record)]
    assert names[10:16] in (["b", "a", "b", "a", "b", "a"], ["a", "b", "a", "b", "a", "b"])


def test_what_nothing_can_answer_in_time_is_refused() -> None:
    record = serve(at_knee(MaxThroughput), [tenant(slo_ms=15, of=flat(10, 1))], [0, 1, 6])
    assert shown(record) == [("a", 1, 100, 0, 10), ("a", 1, 100, 10, 20)]
    assert record.dropped == [1]
