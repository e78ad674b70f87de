"""Probes run alone, and only in time that nobody was promised."""

import pytest

from kneescale.core.dispatching.dispatcher import Dispatcher, Granted
from kneescale.core.units import NS_PER_MS, NS_PER_S
from tests.core.partitions import dispatcher, profiling, serving

MS = NS_PER_MS


def ask(device: Dispatcher, lasts_ms: int, now_ns: int = 0) -> list[Granted]:
    device.probe("p", 30, 4, lasts_ms * MS, now_ns)
    return device.tick(now_ns)


def serve(device: Dispatcher, at_ns: int) -> None:
    """One item of "a" comes and is answered."""
    device.arrived("a", 1, at_ns)
    (granted,) = device.tick(at_ns)
    ended_ns = granted.grant.finish_by_ns
    device.done("a", granted.grant.grant_id, at_ns, ended_ns, ended_ns)


def test_who_profiles_does_not_say_what_counts_as_of_late() -> None:
    alone = dispatcher(a=serving(slo_ms=50)).scoreboard.window_ns
    assert dispatcher(a=serving(slo_ms=50), p=profiling()).scoreboard.window_ns == alone


def test_a_probe_runs_at_once_on_an_idle_device_and_alone() -> None:
    device = dispatcher(a=serving(), p=profiling())
    (granted,) = ask(device, lasts_ms=2000)
    assert (granted.partition, granted.grant.gpu_percent, granted.grant.batch) == ("p", 30, 4)
    device.arrived("a", 1, 0)
    assert device.tick(0) == []
    assert device.waiting.reason == "a profile probe has the device to itself"
    device.done("p", granted.grant.grant_id, 0, 5 * MS, 5 * MS)
    assert [granted.partition for granted in device.tick(5 * MS)] == ["a"]


@pytest.mark.parametrize(("lasts_ms", "first"), [(30, "p"), (36, "a"), (60, "a")])
def test_work_goes_first_that_a_probe_would_make_late(lasts_ms: int, first: str) -> None:
    # One item takes 2 ms at 30 GPU% and more, and has 50 ms; a quarter of them is kept in reserve.
    device = dispatcher(a=serving(slo_ms=50), p=profiling())
    device.probe("p", 30, 4, lasts_ms * MS, 0)
    device.arrived("a", 1, 0)
    assert device.tick(0)[0].partition == first


@pytest.mark.parametrize(("older_lasts_ms", "first"), [(30, "p"), (60, "q")])
def test_the_oldest_probe_goes_first_of_those_that_leave_time(older_lasts_ms: int, first: str) -> None:
    device = dispatcher(a=serving(slo_ms=50), q=profiling(), p=profiling())
    device.probe("p", 30, 4, older_lasts_ms * MS, 0)
    device.probe("q", 30, 4, 20 * MS, 1)
    device.arrived("a", 1, 1)
    assert device.tick(1)[0].partition == first


def test_all_models_together_must_be_in_time_behind_a_probe() -> None:
    names = ("a", "b", "c", "d")
    crowd = dispatcher("SpatioTemporal", **dict.fromkeys(names, serving(slo_ms=60)), p=profiling())
    for name in names:
        crowd.arrived(name, 16, 0)
    one = dispatcher(a=serving(slo_ms=60), p=profiling())
    one.arrived("a", 16, 0)
    # 16 items take 5 ms of the whole device, which is 7 ms in lanes; 15 ms are kept in reserve.
    assert ask(one, lasts_ms=30)[0].partition == "p"
    assert ask(crowd, lasts_ms=30)[0].partition != "p"


def test_the_device_drains_for_a_probe_that_leaves_time() -> None:
    device = dispatcher(a=serving(slo_ms=50), b=serving(slo_ms=50), p=profiling())
    device.arrived("a", 1, 0)
    (running,) = device.tick(0)
    assert ask(device, lasts_ms=15) == []
    device.arrived("b", 1, 1 * MS)
    assert device.tick(1 * MS) == []
    assert device.waiting.reason == "the device drains for a profile probe"
    ended_ns = running.grant.finish_by_ns
    device.done("a", running.grant.grant_id, 0, ended_ns, ended_ns)
    assert [granted.partition for granted in device.tick(ended_ns)] == ["p"]


def test_a_drain_ends_when_work_comes_that_it_would_make_late() -> None:
    device = dispatcher(a=serving(slo_ms=50), b=serving(slo_ms=50), p=profiling())
    device.arrived("a", 1, 0)
    device.tick(0)
    assert ask(device, lasts_ms=45) == []
    assert device.waiting.reason == "the device drains for a profile probe"
    device.arrived("b", 1, 1 * MS)
    assert [granted.partition for granted in device.tick(1 * MS)] == ["b"]


def test_what_a_rate_promises_has_its_time_kept_although_nothing_waits() -> None:
    device = dispatcher(a=serving(slo_ms=50), p=profiling())
    for count in range(1, 20):
        serve(device, count * 20 * MS)
    now_ns = 385 * MS
    assert ask(device, lasts_ms=200, now_ns=now_ns) == []
    # An item every 20 ms was promised; 100 s without one are as good as no promise.
    wake_ns = device.next_wake_ns(now_ns)
    assert wake_ns is not None
    assert wake_ns - now_ns <= 20 * MS
    assert device.tick(10 * NS_PER_S) == []
    assert [granted.partition for granted in device.tick(100 * NS_PER_S)] == ["p"]


def test_a_probe_takes_the_place_of_the_one_that_waits() -> None:
    device = dispatcher(a=serving(slo_ms=50), p=profiling())
    device.arrived("a", 1, 0)
    device.tick(0)
    assert ask(device, lasts_ms=2000, now_ns=1) == []
    device.probe("p", 100, 1, 1 * MS, 2)
    device.tick(2)
    (running,) = device.running
    ended_ns = running.grant.finish_by_ns
    device.done("a", running.grant.grant_id, 0, ended_ns, ended_ns)
    (granted,) = device.tick(ended_ns)
    assert (granted.partition, granted.grant.gpu_percent) == ("p", 100)
    device.done("p", granted.grant.grant_id, ended_ns, ended_ns + MS, ended_ns + MS)
    assert device.tick(1000 * NS_PER_S) == []


def test_a_profiling_worker_that_leaves_frees_the_device() -> None:
    device = dispatcher(a=serving(), p=profiling())
    device.probe("p", 30, 4, MS, 0)
    device.tick(0)
    device.probe("p", 40, 4, MS, 0)
    device.arrived("a", 1, 0)
    device.left("p", 1)
    assert [granted.partition for granted in device.tick(1)] == ["a"]
    assert device.next_wake_ns(1) is None, "no probe waits any more"
