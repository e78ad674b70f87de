"""Lanes that are granted on, to the worker that has them, before its run there has ended."""

import pytest

from kneescale.core.dispatching.dispatcher import Dispatcher, Granted, PartitionTerms
from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import NS_PER_MS
from tests.core.partitions import dispatcher, profiling, serving

MS = NS_PER_MS
LEAD_NS = MS


def whole(*, slo_ms: float = 500) -> PartitionTerms:
    """Batches of up to 8 take the whole device for 20 ms."""
    surface = LatencySurface.from_points(Point(100, batch, 20.0) for batch in (1, 8))
    return serving(slo_ms=slo_ms, lanes=(100,), surface=surface)


def two_batches_of(device: Dispatcher, name: str) -> Granted:
    """At 0, of which the first is granted."""
    device.arrived(name, 16, 0)
    (first,) = device.tick(0)
    assert first.grant.follows == 0
    return first


def following(device: Dispatcher) -> tuple[Granted, Granted]:
    """A batch that runs until 20 ms, and the one granted behind it at 18."""
    first = two_batches_of(device, "a")
    (second,) = device.tick(18 * MS)
    return first, second


def end(device: Dispatcher, granted: Granted, started_ns: int, ended_ns: int) -> None:
    assert device.done(granted.partition, granted.grant.grant_id, started_ns, ended_ns, ended_ns) is not None


@pytest.mark.parametrize("policy", ["SpatioTemporal", "Temporal"])
def test_a_lane_is_granted_on_to_its_own_worker_shortly_before_its_run_ends(policy: str) -> None:
    device = dispatcher(policy, LEAD_NS, a=whole())
    first = two_batches_of(device, "a")
    assert device.tick(16 * MS - 1) == []
    (second,) = device.tick(16 * MS)
    assert (second.partition, second.grant.follows) == ("a", first.grant.grant_id)
    assert (second.grant.batch, second.grant.finish_by_ns) == (8, 40 * MS)
    assert device.free_percent == 0
    assert device.queued("a") == 0


def test_it_asks_to_be_ticked_early_enough_and_once() -> None:
    device = dispatcher("SpatioTemporal", LEAD_NS, a=whole())
    two_batches_of(device, "a")
    assert device.next_wake_ns(0) == 19 * MS
    assert len(device.tick(19 * MS)) == 1
    assert device.next_wake_ns(19 * MS) is None


def test_without_a_lead_nothing_follows() -> None:
    device = dispatcher(a=whole())
    two_batches_of(device, "a")
    assert device.tick(20 * MS - 1) == []


def test_what_follows_is_decided_in_the_last_quarter_of_a_run_at_the_earliest() -> None:
    device = dispatcher("SpatioTemporal", 100 * MS, a=whole())
    two_batches_of(device, "a")
    assert device.tick(15 * MS - 1) == []
    assert len(device.tick(15 * MS)) == 1


def test_a_lane_is_not_granted_on_where_it_is_anothers_turn() -> None:
    device = dispatcher("SpatioTemporal", LEAD_NS, a=whole(), b=whole(slo_ms=60))
    two_batches_of(device, "a")
    device.arrived("b", 8, 0)
    assert device.tick(18 * MS) == []
    assert device.free_percent == 0


def test_a_lane_is_not_granted_on_to_a_run_that_takes_another() -> None:
    """Eight items are cheapest on 40 GPU%, one alone on 10."""
    surface = LatencySurface.from_points(
        [Point(10, 1, 20), Point(40, 1, 20), Point(10, 8, 400), Point(40, 8, 30)]
    )
    device = dispatcher(
        "SpatioTemporal", LEAD_NS, a=serving(slo_ms=100, lanes=(10, 40), batch=8, surface=surface)
    )
    device.arrived("a", 1, 0)
    (first,) = device.tick(0)
    assert first.grant.gpu_percent == 10
    device.arrived("a", 8, 17 * MS)
    assert all(not granted.grant.follows for granted in device.tick(19 * MS))


def test_a_run_that_follows_begins_when_the_other_one_ends_and_has_all_its_time() -> None:
    device = dispatcher("SpatioTemporal", LEAD_NS, a=whole())
    first, second = following(device)
    ran = device.done("a", first.grant.grant_id, 0, 23 * MS, 24 * MS)
    assert ran is not None
    assert ran.followed_by is not None
    assert (ran.followed_by.grant_id, ran.followed_by.finish_by_ns) == (second.grant.grant_id, 43 * MS)
    assert device.free_percent == 0
    (running,) = device.running
    assert (running.granted_ns, running.grant) == (23 * MS, ran.followed_by)
    end(device, second, 23 * MS, 43 * MS)
    assert device.free_percent == 100
    assert device.timing("a").overruns == 0


def test_what_waits_cannot_have_ended_nor_begun_before_the_other_one_ended() -> None:
    device = dispatcher("SpatioTemporal", LEAD_NS, a=whole())
    first, second = following(device)
    assert device.done("a", second.grant.grant_id, 19 * MS, 20 * MS, 20 * MS) is None
    end(device, first, 0, 20 * MS)
    assert device.done("a", second.grant.grant_id, 19 * MS, 40 * MS, 40 * MS) is None
    end(device, second, 20 * MS, 40 * MS)


def test_nothing_is_granted_behind_what_waits_itself() -> None:
    device = dispatcher("SpatioTemporal", LEAD_NS, a=whole())
    first, _ = following(device)
    device.arrived("a", 8, 18 * MS)
    assert device.tick(39 * MS) == []
    end(device, first, 0, 39 * MS)
    assert len(device.tick(58 * MS)) == 1


def test_nothing_is_granted_behind_what_should_have_ended() -> None:
    device = dispatcher("SpatioTemporal", LEAD_NS, a=whole())
    device.arrived("a", 8, 0)
    assert len(device.tick(0)) == 1
    device.arrived("a", 8, 20 * MS)
    assert device.tick(20 * MS) == []
    wake_ns = device.next_wake_ns(20 * MS)
    assert wake_ns is None or wake_ns > 20 * MS


def test_a_worker_that_leaves_gives_both_runs_back() -> None:
    device = dispatcher("SpatioTemporal", LEAD_NS, a=whole())
    first, second = following(device)
    freed = device.left("a", 19 * MS)
    assert [ran.run.grant.grant_id for ran in freed] == [first.grant.grant_id, second.grant.grant_id]
    assert freed[0].followed_by is not None
    assert (device.free_percent, device.running) == (100, ())


def test_a_worker_that_leaves_between_two_grants_that_follow_is_granted_no_more() -> None:
    """As one does that cannot be sent the first of them."""
    surface = LatencySurface.from_points(Point(50, batch, 20.0) for batch in (1, 8))
    device = dispatcher("SpatioTemporal", LEAD_NS, a=serving(slo_ms=500, lanes=(50,), surface=surface))
    device.arrived("a", 32, 0)
    assert len(device.tick(0)) == 2
    grants = device.grants(18 * MS)
    assert next(grants).grant.follows
    device.left("a", 18 * MS)
    assert list(grants) == []
    assert device.free_percent == 100


def test_a_lane_is_not_granted_on_to_items_that_are_to_be_refused_by_then() -> None:
    device = dispatcher("SpatioTemporal", LEAD_NS, a=whole(slo_ms=30))
    first = two_batches_of(device, "a")
    device.refuse(11 * MS)
    device.arrived("a", 3, 9 * MS)
    device.arrived("a", 5, 15 * MS)
    assert device.refuse(18 * MS) == []
    assert device.tick(18 * MS) == []
    end(device, first, 0, 20 * MS)
    assert [refused.count for refused in device.refuse(20 * MS)] == [3]
    assert [granted.grant.batch for granted in device.tick(20 * MS)] == [5]


def test_looking_behind_a_run_changes_no_plan() -> None:
    """The oldest item of b can be in time at 18.9 ms, and could not once the run of a should have ended."""
    halves = LatencySurface.from_points(Point(50, batch, 20.0) for batch in (1, 8))
    slower = LatencySurface.from_points([Point(50, 1, 20.0), Point(50, 8, 30.0)])
    granted = []
    for lead_ns in (0, LEAD_NS):
        device = dispatcher(
            "SpatioTemporal",
            lead_ns,
            a=serving(slo_ms=500, lanes=(50,), surface=halves),
            b=serving(slo_ms=60, lanes=(50,), surface=slower),
        )
        now_ns = 1000 * MS
        device.arrived("b", 8, now_ns)
        device.arrived("a", 8, now_ns)
        (of_b,) = (each for each in device.tick(now_ns) if each.partition == "b")
        device.arrived("a", 8, now_ns + MS)
        device.arrived("b", 1, now_ns - 20 * MS - MS // 2)
        device.arrived("b", 1, now_ns + 17 * MS)
        device.tick(now_ns + 18 * MS)
        end(device, of_b, now_ns, now_ns + 19 * MS)
        granted.append([each.grant.batch for each in device.tick(now_ns + 19 * MS) if each.partition == "b"])
    assert granted == [[1], [1]]


def test_a_run_that_hangs_is_found_although_its_lane_is_granted_on() -> None:
    device = dispatcher("SpatioTemporal", LEAD_NS, a=whole())
    following(device)
    assert device.hung(21 * MS) == set()
    assert device.hung(2_021 * MS) == {"a"}


def test_what_waits_behind_a_run_that_is_slow_does_not_hang() -> None:
    surface = LatencySurface.from_points([Point(100, 1, 300.0), Point(100, 8, 1000.0)])
    device = dispatcher("SpatioTemporal", LEAD_NS, a=serving(slo_ms=8000, lanes=(100,), surface=surface))
    device.arrived("a", 8, 0)
    assert len(device.tick(0)) == 1
    device.arrived("a", 1, 997 * MS)
    assert len(device.tick(999 * MS)) == 1
    assert device.hung(9_999 * MS) == set()
    assert device.hung(10_001 * MS) == {"a"}


def test_nothing_follows_while_a_profile_waits_for_the_device() -> None:
    device = dispatcher("SpatioTemporal", LEAD_NS, a=whole(), p=profiling())
    two_batches_of(device, "a")
    device.probe("p", 100, 1, 5 * MS, 1 * MS)
    assert device.tick(19 * MS) == []
