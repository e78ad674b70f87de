from dataclasses import replace

import pytest

from kneescale.core.dispatching.partition import Partition, PartitionTerms
from kneescale.core.units import NS_PER_MS, NS_PER_S
from tests.core.partitions import serving

TERMS = serving(slo_ms=50)


@pytest.mark.parametrize(
    "changed",
    [
        replace(TERMS, weight=7),
        replace(TERMS, batch=1),
        replace(TERMS, gpu_percent=TERMS.lanes[-1]),
        replace(TERMS, refuses_late=False),
    ],
)
def test_costs_are_not_worked_out_again_where_nothing_changes_them(changed: PartitionTerms) -> None:
    """It takes time in which nothing on the device is granted."""
    partition = Partition("a")
    partition.set_terms(TERMS)
    costs = partition.costs
    partition.set_terms(changed)
    assert partition.costs is costs
    assert partition.terms == changed


@pytest.mark.parametrize(
    "changed",
    [
        replace(TERMS, slo_ns=2 * TERMS.slo_ns),
        replace(TERMS, margin_ns=5 * NS_PER_MS),
        replace(TERMS, lanes=TERMS.lanes[:1], gpu_percent=TERMS.lanes[0]),
        replace(TERMS, is_pool=True),
    ],
)
def test_costs_follow_the_terms_that_they_are_made_of(changed: PartitionTerms) -> None:
    partition, fresh = Partition("a"), Partition("a")
    partition.set_terms(TERMS)
    partition.set_terms(changed)
    fresh.set_terms(changed)
    assert partition.ready_costs.options == fresh.ready_costs.options
    assert partition.ready_costs.steps == fresh.ready_costs.steps


def test_a_worker_that_turns_time_back_and_then_tells_of_one_moment_for_ever_has_a_rank() -> None:
    """The mean gap would be below 0, and then as near to it as there are numbers."""
    partition = Partition("a")
    partition.set_terms(serving())
    partition.push(1, NS_PER_S, 0)
    for _ in range(40_000):
        partition.push(1, NS_PER_S - NS_PER_MS, 0)
        partition.pop(1)
    assert partition.behind >= 0
    assert partition.rank_ns(NS_PER_S) <= partition.end_by_ns


def ahead_after(arrived_ms: list[int], *, planned_ms: int, ended_ms: int) -> float:
    """How far a queue of an SLO of 50 ms goes ahead after a run of items that came then."""
    partition = Partition("a")
    partition.set_terms(TERMS)
    arrivals = [(at_ms * NS_PER_MS, 1) for at_ms in arrived_ms]
    partition.answered(arrivals, planned_ms * NS_PER_MS, ended_ms * NS_PER_MS)
    return partition.budget.ahead


def test_who_is_late_because_a_run_took_longer_is_missed_like_who_was_refused() -> None:
    one, two = (ahead_after([0, 5, 20], planned_ms=48, ended_ms=ended_ms) for ended_ms in (52, 56))
    assert 0 < one == two / 2


@pytest.mark.parametrize(("planned_ms", "ended_ms"), [(48, 50), (48, 40), (51, 52)])
def test_who_is_in_time_or_was_to_be_late_by_plan_is_no_reason_to_go_ahead(
    planned_ms: int, ended_ms: int
) -> None:
    """Those that serve late requests would all go ahead, for as long as there is too much to do."""
    assert ahead_after([0], planned_ms=planned_ms, ended_ms=ended_ms) == 0
