from kneescale.core.units import NS_PER_MS
from tests.core.partitions import dispatcher, profiling, serving

MS = NS_PER_MS


def test_a_probe_runs_at_once_on_an_idle_device_and_alone() -> None:
    device = dispatcher(a=serving(), p=profiling())
    device.probe("p", 30, 4, 0)
    (granted,) = device.tick(0)
    assert (granted.partition, granted.grant.gpu_percent, granted.grant.batch) == ("p", 30, 4)
    device.arrived("a", 1, 0, 0)
    assert device.tick(0) == []
    assert device.waiting.reason == "a profile probe has the device to itself"
    device.done("p", granted.grant.grant_id, 0, 5 * MS, 5 * MS)
    assert [granted.partition for granted in device.tick(5 * MS)] == ["a"]


def test_a_probe_lets_work_go_first_that_it_would_make_late() -> None:
    device = dispatcher(a=serving(slo_ms=50), p=profiling())
    device.probe("p", 100, 16, 0)
    (first,) = device.tick(0)
    device.done("p", first.grant.grant_id, 0, 60 * MS, 60 * MS)
    device.arrived("a", 1, 60 * MS, 60 * MS)
    device.probe("p", 100, 16, 60 * MS)
    assert [granted.partition for granted in device.tick(60 * MS)] == ["a"]


def test_on_a_busy_device_a_probe_gets_its_turn_when_its_patience_ends() -> None:
    device = dispatcher(a=serving(slo_ms=50), p=profiling())
    device.arrived("a", 1, 0, 0)
    (running,) = device.tick(0)
    device.probe("p", 100, 16, 0)
    assert device.tick(1 * MS) == []
    assert device.next_wake_ns(20 * MS) == 100 * MS
    device.arrived("a", 1, 100 * MS, 100 * MS)
    assert device.tick(100 * MS) == []
    assert device.waiting.reason == "the device drains for a profile probe"
    device.done("a", running.grant.grant_id, 0, 101 * MS, 101 * MS)
    assert [granted.partition for granted in device.tick(101 * MS)] == ["p"]


def test_a_profiling_worker_that_leaves_frees_the_device() -> None:
    device = dispatcher(a=serving(), p=profiling())
    device.probe("p", 30, 4, 0)
    device.probe("p", 40, 4, 0)
    device.tick(0)
    device.arrived("a", 1, 0, 0)
    device.left("p", 1)
    assert [granted.partition for granted in device.tick(1)] == ["a"]
