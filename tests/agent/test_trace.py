"""The trace adds up what was granted, and notices when it is too much."""

from kneescale.agent.trace import Tenant, Trace
from kneescale.core.units import NS_PER_S
from kneescale.core.wire import Grant


def tenant(number: int) -> Tenant:
    return Tenant(f"p{number}", "shop", "lite0")


def _grant(trace: Trace, grant_id: int, gpu_percent: int, granted_ns: int) -> None:
    trace.granted(tenant(grant_id), Grant(grant_id, gpu_percent, 4, granted_ns + 1), granted_ns)


def test_a_full_device_is_not_overcommitted() -> None:
    trace = Trace()
    _grant(trace, 1, 60, 0)
    _grant(trace, 2, 40, 0)
    trace.ended(1, 0, 5, 5)
    _grant(trace, 3, 60, 5)
    assert (trace.overcommitted, trace.running_percent) == (0, 100)


def test_a_poisoned_trace_is_caught() -> None:
    trace = Trace()
    _grant(trace, 1, 60, 0)
    _grant(trace, 2, 50, 1)
    assert trace.overcommitted == 1


def test_grants_that_ended_are_kept_up_to_the_capacity() -> None:
    trace = Trace(capacity=2)
    for grant_id in range(3):
        _grant(trace, grant_id, 10, grant_id)
        trace.ended(grant_id, grant_id, grant_id + 1, grant_id + 1)
    assert [record.partition for record in trace.since(0)] == ["p1", "p2"]
    assert [record.partition for record in trace.since(3)] == ["p2"]


def test_area_counts_what_ended_and_what_runs() -> None:
    trace = Trace()
    _grant(trace, 1, 50, 0)
    trace.ended(1, 0, NS_PER_S, NS_PER_S)
    _grant(trace, 2, 10, NS_PER_S)
    assert trace.area_ns(2 * NS_PER_S) == 60 * NS_PER_S


def test_refused_items_are_counted_beside_the_granted_ones() -> None:
    trace = Trace()
    _grant(trace, 1, 50, 0)
    trace.ended(1, 0, 10, 10)
    trace.refused(tenant(1), 3)
    trace.refused(tenant(1), 2)
    (totals,) = trace.totals().values()
    assert (totals.tenant, totals.items, totals.refused_items) == (tenant(1), 4, 5)


def test_totals_are_kept_only_of_partitions_that_are_there() -> None:
    trace = Trace()
    for grant_id in (1, 2):
        _grant(trace, grant_id, 50, 0)
        trace.ended(grant_id, 2, 10, 10)
    trace.keep_totals_of({"p2"})
    (totals,) = trace.totals().values()
    assert (totals.tenant, totals.grants, totals.items) == (tenant(2), 1, 4)
    assert (totals.area_ns, totals.used_area_ns) == (500, 400)
