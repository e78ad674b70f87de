from dataclasses import replace

import pytest

from kneescale.core.dispatching.dispatcher import Dispatcher, Granted, PartitionTerms, Ran, Refused
from kneescale.core.dispatching.policies import policy_named
from kneescale.core.dispatching.policy import Wait
from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import NS_PER_MS, NS_PER_S
from tests.core.partitions import dispatcher, serving

MS = NS_PER_MS
WHOLE = (100,)


def ten_ms() -> LatencySurface:
    """One lane of 100 GPU%; every batch up to 8 takes 10 ms."""
    return LatencySurface.from_points(Point(100, batch, 10.0) for batch in (1, 8))


def whole(*, slo_ms: float = 50, weight: int = 1, surface: LatencySurface | None = None) -> PartitionTerms:
    """A partition whose every batch takes the whole device, for 10 ms unless a surface says otherwise."""
    return serving(slo_ms=slo_ms, weight=weight, lanes=WHOLE, surface=surface or ten_ms())


def long() -> PartitionTerms:
    """A partition whose batches are cheapest on the whole device, where they take 30 ms; or 90 on 40 GPU%."""
    surface = LatencySurface.from_points([Point(40, 1, 90), Point(100, 1, 30)])
    return serving(slo_ms=500, lanes=(40, 100), batch=1, surface=surface)


def run_to_end(device: Dispatcher, granted: Granted, now_ns: int) -> Ran:
    ran = device.done(granted.partition, granted.grant.grant_id, now_ns, now_ns, now_ns)
    assert ran is not None
    return ran


def said(wait: Wait) -> tuple[str, int | None, str | None]:
    return wait.reason, wait.until_ns, wait.partition


def queue_one_on_a_busy_device(device: Dispatcher, name: str, *, busy_with: str) -> None:
    """At 20 ms, one item of a partition that had one each millisecond, all of which ran."""
    for ms in range(1, 20):
        device.arrived(name, 1, ms * MS)
        for granted in device.tick(ms * MS):
            run_to_end(device, granted, ms * MS)
    device.scoreboard.charge(busy_with, 95, device.scoreboard.window_ns, 20 * MS)
    device.arrived(name, 1, 20 * MS)


def test_work_on_an_idle_device_runs_at_once() -> None:
    device = dispatcher(a=serving())
    device.arrived("a", 3, 0)
    (granted,) = device.tick(0)
    assert (granted.partition, granted.grant.batch) == ("a", 3)
    assert device.free_percent == 100 - granted.grant.gpu_percent
    assert device.queued("a") == 0


def test_a_grant_names_the_time_by_which_it_ends() -> None:
    device = dispatcher(a=whole())
    device.arrived("a", 1, 0)
    (granted,) = device.tick(5 * MS)
    assert granted.grant.finish_by_ns == 15 * MS


def test_a_grant_that_is_done_gives_its_gpu_percent_back() -> None:
    device = dispatcher(a=serving())
    device.arrived("a", 1, 0)
    (granted,) = device.tick(0)
    ran = device.done("a", granted.grant.grant_id, 1 * MS, 3 * MS, 4 * MS)
    assert ran is not None
    assert (ran.run.partition, ran.run.grant, ran.run.granted_ns) == ("a", granted.grant, 0)
    assert (ran.started_ns, ran.ended_ns, ran.followed_by) == (1 * MS, 3 * MS, None)
    assert device.free_percent == 100


def test_the_earliest_deadline_goes_first() -> None:
    device = dispatcher(late=whole(slo_ms=90), soon=whole(slo_ms=60))
    device.arrived("late", 8, 0)
    device.arrived("soon", 8, 0)
    assert [granted.partition for granted in device.tick(0)] == ["soon"]


def test_a_run_takes_the_least_area_that_is_in_time() -> None:
    surface = LatencySurface.from_points([Point(20, 1, 30.0), Point(100, 1, 10.0)])
    relaxed = dispatcher(a=serving(slo_ms=100, lanes=(20, 100), batch=1, surface=surface))
    pressed = dispatcher(a=serving(slo_ms=20, lanes=(20, 100), batch=1, surface=surface))
    for device in (relaxed, pressed):
        device.arrived("a", 1, 0)
    assert [granted.grant.gpu_percent for granted in relaxed.tick(0)] == [20]
    assert [granted.grant.gpu_percent for granted in pressed.tick(0)] == [100]


def test_several_batches_of_one_model_run_at_once() -> None:
    device = dispatcher(a=serving(batch=8, lanes=(10, 20, 30)))
    device.arrived("a", 48, 0)
    grants = device.tick(0)
    assert len(grants) >= 3
    assert sum(granted.grant.batch for granted in grants) == 48
    assert sum(granted.grant.gpu_percent for granted in grants) <= 100


def test_each_lane_of_a_pool_runs_one_batch_at_a_time() -> None:
    pool = (10, 20, 20)
    device = dispatcher(a=replace(serving(batch=8, lanes=(10, 20)), lanes=pool, is_pool=True))
    device.arrived("a", 64, 0)
    grants = device.tick(0)
    assert sorted(granted.grant.gpu_percent for granted in grants) == list(pool)
    for granted in grants:
        run_to_end(device, granted, MS)
        assert [again.grant.gpu_percent for again in device.tick(MS)] == [granted.grant.gpu_percent]


def test_a_batch_is_cut_where_the_deadline_asks_for_it() -> None:
    surface = LatencySurface.from_points(Point(100, batch, 20.0 + 5 * batch) for batch in (1, 8))
    device = dispatcher(a=serving(slo_ms=50, lanes=WHOLE, surface=surface))
    device.arrived("a", 8, 0)
    assert [granted.grant.batch for granted in device.tick(0)] == [6]


def test_a_run_is_planned_to_end_a_margin_before_the_deadline() -> None:
    surface = LatencySurface.from_points(Point(100, batch, 20.0 + 5 * batch) for batch in (1, 8))
    terms = serving(slo_ms=50, lanes=WHOLE, surface=surface)
    device = dispatcher(a=replace(terms, margin_ns=5 * MS))
    device.arrived("a", 8, 0)
    assert [granted.grant.batch for granted in device.tick(0)] == [5]


def test_late_work_is_still_served_in_batches_as_large_as_they_come() -> None:
    device = dispatcher(a=whole())
    device.arrived("a", 8, 0)
    assert [granted.grant.batch for granted in device.tick(1 * NS_PER_S)] == [8]


def test_late_work_goes_behind_what_can_be_in_time() -> None:
    device = dispatcher(a=whole(), b=whole())
    device.arrived("a", 8, 0)
    device.arrived("b", 8, 190 * MS)
    assert [granted.partition for granted in device.tick(200 * MS)] == ["b"]


def test_a_long_run_leaves_room_for_what_may_arrive() -> None:
    short = serving(
        slo_ms=20,
        lanes=(40, 100),
        batch=1,
        surface=LatencySurface.from_points([Point(40, 1, 5), Point(100, 1, 4)]),
    )
    alone, beside = dispatcher(long=long()), dispatcher(long=long(), short=short)
    for device in (alone, beside):
        device.arrived("long", 1, 0)
    assert [granted.grant.gpu_percent for granted in alone.tick(0)] == [100]
    assert [granted.grant.gpu_percent for granted in beside.tick(0)] == [40]


def test_a_due_run_that_does_not_fit_has_its_gpu_percent_kept() -> None:
    surface = LatencySurface.from_points([Point(50, 1, 20.0)])
    wide = LatencySurface.from_points([Point(80, 1, 20.0)])
    device = dispatcher(
        fill=serving(slo_ms=500, lanes=(50,), batch=1, surface=surface),
        wide=serving(slo_ms=60, lanes=(80,), batch=1, surface=wide),
    )
    device.arrived("fill", 1, 0)
    (running,) = device.tick(0)
    device.arrived("wide", 1, 0)
    device.arrived("fill", 1, 0)
    assert device.tick(1 * MS) == []
    run_to_end(device, running, 20 * MS)
    assert [granted.partition for granted in device.tick(20 * MS)] == ["wide"]


def test_many_narrow_runs_do_not_keep_a_wide_one_out() -> None:
    """Each 5 GPU% that comes free would be taken again: the wide run's place is many runs away."""
    narrow = LatencySurface.from_points([Point(5, 1, 40.0)])
    wide = LatencySurface.from_points([Point(60, 1, 20.0)])
    device = dispatcher(
        narrow=serving(slo_ms=500, lanes=(5,), batch=1, surface=narrow),
        wide=serving(slo_ms=100, lanes=(60,), batch=1, surface=wide),
    )
    granted_wide_ns = None
    for now_ns in range(0, 200 * MS, 2 * MS):
        for running in device.running:
            if running.grant.finish_by_ns <= now_ns:
                device.done(running.partition, running.grant.grant_id, now_ns, now_ns, now_ns)
        device.arrived("narrow", 1, now_ns)
        if now_ns == 100 * MS:
            assert device.free_percent == 5, "the narrow runs that end one by one fill the device"
            device.arrived("wide", 1, now_ns)
        if "wide" in [granted.partition for granted in device.tick(now_ns)]:
            granted_wide_ns = now_ns
    assert granted_wide_ns is not None
    assert granted_wide_ns <= 180 * MS


def test_waiting_has_a_reason_and_an_end() -> None:
    device = dispatcher(a=serving())
    assert device.tick(0) == []
    assert device.waiting.reason == "nothing is queued"
    assert device.next_wake_ns(0) is None


def test_a_full_device_needs_no_look_before_a_run_ends() -> None:
    device = dispatcher(a=whole(), b=whole())
    device.arrived("a", 1, 0)
    device.arrived("b", 1, 0)
    assert len(device.tick(0)) == 1
    assert device.next_wake_ns(0) is None


def test_what_waits_for_a_lane_is_looked_at_again_when_a_run_should_have_ended() -> None:
    slow_but_whole = LatencySurface.from_points([Point(20, 1, 60.0), Point(100, 1, 10.0)])
    wide = serving(lanes=(20, 100), batch=1, surface=slow_but_whole)
    device = dispatcher(narrow=serving(lanes=(20,)), wide=wide)
    device.arrived("narrow", 1, 0)
    (running,) = device.tick(0)
    device.arrived("wide", 1, 1 * MS)
    assert device.tick(1 * MS) == []
    assert said(device.waiting) == (
        "a batch waits for GPU% to come free",
        running.grant.finish_by_ns,
        "wide",
    )
    assert device.next_wake_ns(1 * MS) == running.grant.finish_by_ns


def test_on_a_busy_device_a_small_batch_waits_to_grow_while_that_is_worth_it() -> None:
    device = dispatcher(a=serving(slo_ms=50), b=serving())
    queue_one_on_a_busy_device(device, "a", busy_with="b")
    assert device.tick(20 * MS) == []
    ripe_ns = device.waiting.until_ns
    assert ripe_ns is not None
    assert 20 * MS < ripe_ns < 70 * MS
    assert said(device.waiting) == ("a batch grows", ripe_ns, "a")
    assert device.next_wake_ns(20 * MS) == ripe_ns
    assert device.tick(ripe_ns - 1) == []
    assert [granted.grant.batch for granted in device.tick(ripe_ns)] == [1]


def test_a_wake_up_that_falls_due_between_decision_and_wait_is_not_forgotten() -> None:
    device = dispatcher(a=serving(slo_ms=50), b=serving())
    queue_one_on_a_busy_device(device, "a", busy_with="b")
    assert device.tick(20 * MS) == []
    ripe_ns = device.waiting.until_ns
    assert ripe_ns is not None
    assert [device.next_wake_ns(now_ns) for now_ns in (ripe_ns, ripe_ns + 50_000)] == [ripe_ns, ripe_ns]
    assert device.tick(ripe_ns + 50_000) != []
    assert device.next_wake_ns(ripe_ns + 50_000) is None, "who has ticked is not woken for that again"


def test_runs_that_take_longer_than_planned_are_planned_for() -> None:
    surface = LatencySurface.from_points([Point(20, 1, 30.0), Point(100, 1, 14.0)])
    device = dispatcher(a=serving(slo_ms=32, lanes=(20, 100), batch=1, surface=surface))
    lanes = []
    for second in range(30):
        start_ns = second * NS_PER_S
        device.arrived("a", 1, start_ns)
        (granted,) = device.tick(start_ns)
        lanes.append(granted.grant.gpu_percent)
        took_ns = (granted.grant.finish_by_ns - start_ns) * 6 // 5
        device.done("a", granted.grant.grant_id, start_ns, start_ns + took_ns, start_ns + took_ns)
    assert (lanes[0], lanes[-1]) == (20, 100)


@pytest.mark.parametrize("policy", ["SpatioTemporal", "Temporal"])
def test_what_cannot_be_in_time_is_refused(policy: str) -> None:
    device = dispatcher(policy, a=whole())
    device.arrived("a", 3, 0)
    device.arrived("a", 2, 40 * MS)
    assert device.refuse(40 * MS) == []
    assert device.refuse(45 * MS) == [Refused("a", 3)]
    assert [granted.grant.batch for granted in device.tick(45 * MS)] == [2]


def test_of_what_cannot_be_in_time_by_any_run_one_runs_at_a_time() -> None:
    """Surfaces are corrected by what runs take: without any, a GPU that is well again would not be known."""
    device = dispatcher(a=whole(slo_ms=8))
    device.arrived("a", 3, 0)
    assert device.refuse(0) == [Refused("a", 2)]
    (granted,) = device.tick(0)
    device.arrived("a", 1, 5 * MS)
    assert device.refuse(5 * MS) == [Refused("a", 1)]
    run_to_end(device, granted, 10 * MS)
    device.arrived("a", 1, 10 * MS)
    assert device.refuse(10 * MS) == []


def test_who_has_but_dear_runs_left_goes_behind_who_has_little_time_left() -> None:
    """The first may use a dear run for long yet; the other one's last run ends just in time."""
    spared = LatencySurface.from_points([Point(20, 1, 60.0), Point(100, 1, 18.0)])
    device = dispatcher(
        spared=serving(slo_ms=90, lanes=(20, 100), batch=1, surface=spared),
        pressed=whole(slo_ms=60),
    )
    device.arrived("spared", 1, 0)
    device.arrived("pressed", 8, 0)
    device.scoreboard.charge("spared", 95, device.scoreboard.window_ns, 50 * MS)
    assert [granted.partition for granted in device.tick(50 * MS)] == ["pressed"]


def test_what_was_not_heard_of_for_long_has_a_last_chance() -> None:
    device = dispatcher(a=whole())
    device.arrived("a", 48, 0, heard_ns=200 * MS)
    assert device.refuse(200 * MS) == []
    batches = []
    for ms in range(200, 250, 10):
        batches += [-refused.count for refused in device.refuse(ms * MS)]
        for granted in device.tick(ms * MS):
            batches.append(granted.grant.batch)
            run_to_end(device, granted, (ms + 10) * MS)
    # Of 40 ms that an item can wait 20 are left: three batches, and who comes then is not held up for longer.
    assert batches == [8, 8, 8, -24]


def test_who_had_to_refuse_too_many_goes_first() -> None:
    device = dispatcher(soon=whole(slo_ms=60), unlucky=whole(slo_ms=70))
    device.arrived("unlucky", 20, 0)
    assert device.refuse(65 * MS) == [Refused("unlucky", 20)]
    for name in ("soon", "unlucky"):
        device.arrived(name, 8, 10 * NS_PER_S)
    assert [granted.partition for granted in device.tick(10 * NS_PER_S)] == ["unlucky"]


def test_whose_answers_were_late_goes_first() -> None:
    device = dispatcher(soon=whole(slo_ms=60), unlucky=whole(slo_ms=70))
    device.arrived("unlucky", 8, 0)
    (granted,) = device.tick(55 * MS)
    assert granted.grant.finish_by_ns < 70 * MS
    device.done("unlucky", granted.grant.grant_id, 55 * MS, 75 * MS, 75 * MS)
    for name in ("soon", "unlucky"):
        device.arrived(name, 8, 10 * NS_PER_S)
    assert [granted.partition for granted in device.tick(10 * NS_PER_S)] == ["unlucky"]


def test_what_grows_its_batch_has_room_left_for_it() -> None:
    """The long run is cheapest on a lane that would leave none for the short one once that is due."""
    grows = LatencySurface.from_points(Point(60, batch, 10.0) for batch in (1, 8))
    device = dispatcher(long=long(), grows=serving(slo_ms=25, lanes=(60,), surface=grows))
    queue_one_on_a_busy_device(device, "grows", busy_with="long")
    device.arrived("long", 1, 20 * MS)
    (granted,) = device.tick(20 * MS)
    assert (granted.partition, granted.grant.gpu_percent) == ("long", 40)


@pytest.mark.parametrize("policy", ["SpatioTemporal", "Temporal"])
def test_a_partition_that_does_not_refuse_serves_late(policy: str) -> None:
    device = dispatcher(policy, a=replace(whole(), refuses_late=False))
    device.arrived("a", 3, 0)
    assert device.refuse(60 * MS) == []
    assert [granted.grant.batch for granted in device.tick(60 * MS)] == [3]


def dear_if_late() -> PartitionTerms:
    """At the least area a run takes 40 ms, for 5 % more 30 ms, for a fifth more 20 ms."""
    surface = LatencySurface.from_points([Point(20, 1, 40), Point(28, 1, 30), Point(48, 1, 20)])
    return serving(slo_ms=100, lanes=(20, 28, 48), batch=1, surface=surface)


@pytest.mark.parametrize(
    ("waited_ms", "refused_share", "refused"),
    [
        (65, 0.03, []),
        (65, 0.2, ["spent"]),
        (75, 0.003, []),
        (75, 0.03, ["owed", "spent"]),
        (85, 0.0, ["owed", "spent"]),
    ],
)
def test_the_longer_an_overload_the_less_a_run_may_cost(
    waited_ms: int, refused_share: float, refused: list[str]
) -> None:
    device, now_ns = dispatcher(owed=dear_if_late(), spent=dear_if_late()), waited_ms * MS
    for name in ("owed", "spent"):
        device.arrived(name, 1, 0)
    device.scoreboard.charge("spent", 95, device.scoreboard.window_ns, now_ns)
    device.scoreboard.refuse(refused_share * 100 * device.scoreboard.window_ns, now_ns)
    assert [refusal.partition for refusal in device.refuse(now_ns)] == refused


@pytest.mark.parametrize(
    ("waited_ms", "in_time_before", "busy_share", "is_refused"),
    [(75, 150, 0.95, True), (65, 150, 0.95, False), (75, 100, 0.95, False), (75, 150, 0.85, False)],
)
def test_on_a_busy_device_a_dear_run_is_not_for_who_may_miss_one_in_a_hundred(
    waited_ms: int, in_time_before: int, busy_share: float, is_refused: bool
) -> None:
    device = dispatcher(a=dear_if_late(), b=serving())
    for run in range(in_time_before):
        now_ns = 50 * run * MS
        device.arrived("a", 1, now_ns)
        (granted,) = device.tick(now_ns)
        device.done("a", granted.grant.grant_id, now_ns, granted.grant.finish_by_ns, now_ns + 50 * MS)
    came_ns = 100 * NS_PER_S
    device.arrived("a", 1, came_ns)
    now_ns = came_ns + waited_ms * MS
    device.scoreboard.charge("b", round(100 * busy_share), device.scoreboard.window_ns, now_ns)
    assert device.refuse(now_ns) == [Refused("a", 1)] * is_refused


def test_in_an_overload_who_had_its_share_goes_behind() -> None:
    device = dispatcher(a=whole(slo_ms=50), b=whole(slo_ms=60))
    for name in "ab":
        device.arrived(name, 500, 0)
    device.refuse(55 * MS)
    device.scoreboard.charge("a", 100, 30 * MS, 55 * MS)
    for name in "ab":
        device.arrived(name, 8, 55 * MS)
    assert [granted.partition for granted in device.tick(55 * MS)] == ["b"]


def test_on_a_busy_device_a_full_batch_does_not_wait() -> None:
    device = dispatcher(a=serving(slo_ms=50, batch=8), b=serving())
    device.scoreboard.charge("b", 95, device.scoreboard.window_ns, 0)
    device.arrived("a", 8, 0)
    assert [granted.grant.batch for granted in device.tick(0)] == [8]


def test_fill_goes_to_who_had_the_least_weighted_area() -> None:
    device = dispatcher(a=whole(slo_ms=100, weight=4), b=whole(slo_ms=100))
    device.scoreboard.charge("a", 100, 30 * MS, 0)
    device.scoreboard.charge("b", 100, 10 * MS, 0)
    device.arrived("b", 1, 0)
    device.arrived("a", 1, 0)
    assert [granted.partition for granted in device.tick(0)] == ["a"]


def test_a_worker_that_leaves_frees_its_queue_and_its_grants() -> None:
    device = dispatcher(a=serving(batch=1))
    device.arrived("a", 30, 0)
    grants = device.tick(0)
    freed = device.left("a", 7 * MS)
    assert [ran.run.grant.grant_id for ran in freed] == [granted.grant.grant_id for granted in grants]
    assert all(ran.ended_ns == 7 * MS for ran in freed)
    assert (device.free_percent, device.queued("a"), device.running) == (100, 0, ())


def test_a_second_worker_of_a_name_starts_afresh() -> None:
    device = dispatcher(a=serving())
    device.arrived("a", 2, 0)
    device.tick(0)
    assert len(device.joined("a", 1)) == 1
    assert device.free_percent == 100
    device.arrived("a", 2, 0)
    assert len(device.tick(1)) == 1


def test_done_for_a_grant_that_is_not_in_flight_changes_nothing() -> None:
    device = dispatcher(a=serving(), b=serving())
    device.arrived("a", 1, 0)
    (granted,) = device.tick(0)
    assert device.done("a", granted.grant.grant_id + 1, 0, 1, 1) is None
    assert device.done("b", granted.grant.grant_id, 0, 1, 1) is None
    assert device.free_percent == 100 - granted.grant.gpu_percent


def test_an_overrun_keeps_its_gpu_percent() -> None:
    device = dispatcher(a=whole())
    device.arrived("a", 1, 0)
    device.tick(0)
    device.arrived("a", 1, 1 * NS_PER_S)
    assert device.tick(1 * NS_PER_S) == []
    assert device.waiting.reason == "all GPU% is granted"


def test_items_of_a_worker_that_is_not_connected_are_not_taken() -> None:
    device = dispatcher(a=serving())
    device.left("a", 0)
    device.arrived("a", 1, 0)
    device.arrived("unknown", 1, 0)
    assert (device.tick(0), device.queued("a"), device.queued("unknown")) == ([], 0, 0)


def test_a_worker_may_join_before_its_partition_is_in_the_schedule() -> None:
    device = dispatcher()
    device.joined("a", 0)
    device.arrived("a", 1, 0)
    assert device.tick(0) == []
    device.configure({"a": serving()})
    assert len(device.tick(1)) == 1


def test_a_partition_that_left_the_schedule_is_served_until_its_worker_leaves() -> None:
    device = dispatcher(a=serving())
    device.arrived("a", 1, 0)
    (running,) = device.tick(0)
    device.configure({})
    assert device.free_percent < 100
    device.arrived("a", 1, 1)
    assert len(device.tick(1)) == 1
    run_to_end(device, running, 2)
    device.left("a", 3)
    assert device.free_percent == 100
    device.arrived("a", 1, 4)
    assert device.queued("a") == 0


def test_new_terms_hold_from_the_next_grant_on() -> None:
    device = dispatcher(a=serving(lanes=(20, 100), gpu_percent=20, surface=None))
    device.configure({"a": whole()})
    device.arrived("a", 1, 0)
    assert [granted.grant.gpu_percent for granted in device.tick(0)] == [100]


def test_temporal_sharing_gives_the_whole_gpu_to_one_batch_at_a_time() -> None:
    device = dispatcher("Temporal", a=serving(), b=serving())
    device.arrived("a", 20, 0)
    device.arrived("b", 20, 0)
    (granted,) = device.tick(0)
    assert granted.grant.gpu_percent == 100
    assert device.waiting.reason == "a batch has the whole GPU"
    run_to_end(device, granted, 5 * MS)
    assert len(device.tick(5 * MS)) == 1


def test_a_policy_has_to_be_one_there_is() -> None:
    with pytest.raises(InvalidInputError, match="policy must be SpatioTemporal or Temporal, not 'FIFO'"):
        policy_named("FIFO")


def test_a_planned_run_has_to_be_possible() -> None:
    with pytest.raises(InvalidInputError, match="planned GPU% 45 is none of the lanes"):
        serving(gpu_percent=45)
    with pytest.raises(InvalidInputError, match="planned batch must be 1 to 16, the largest, not 17"):
        serving(batch=17)
