"""Overruns are counted, reported when they come again and again, and a run that never ends is told apart."""

from kneescale.core.dispatching.dispatcher import Dispatcher, Timing
from kneescale.core.dispatching.punctuality import Punctuality, hung_after_ns
from kneescale.core.units import NS_PER_MS, NS_PER_S
from tests.core.dispatching.test_dispatcher import whole
from tests.core.partitions import dispatcher, profiling

MS = NS_PER_MS


def test_a_little_late_is_no_overrun() -> None:
    punctuality = Punctuality()
    for planned_ns, late_ns in ((10 * MS, 5 * MS), (MS, 2 * MS), (10 * MS, -9 * MS)):
        punctuality.ran(planned_ns, late_ns)
    assert punctuality.overruns == 0


def test_one_overrun_is_counted_and_not_reported() -> None:
    punctuality = Punctuality()
    punctuality.ran(10 * MS, 6 * MS)
    assert (punctuality.overruns, punctuality.is_unpunctual) == (1, False)


def test_repeated_overruns_are_reported_until_they_are_rare() -> None:
    punctuality = Punctuality()
    for run in range(100):
        punctuality.ran(10 * MS, 6 * MS if run % 3 == 0 else 0)
    assert punctuality.is_unpunctual
    for _ in range(30):
        punctuality.ran(10 * MS, 0)
    assert punctuality.is_unpunctual, "a report does not flap"
    for _ in range(100):
        punctuality.ran(10 * MS, 0)
    assert not punctuality.is_unpunctual


def test_a_run_is_hung_after_ten_times_its_planned_time_but_not_within_two_seconds() -> None:
    assert hung_after_ns(5 * MS, 15 * MS) == 15 * MS + 2 * NS_PER_S
    assert hung_after_ns(0, NS_PER_S) == 10 * NS_PER_S


def test_the_dispatcher_says_whose_run_is_hung() -> None:
    device = dispatcher(a=whole(), b=whole())
    device.arrived("a", 1, 0)
    (granted,) = device.tick(0)
    hung_ns = hung_after_ns(0, granted.grant.finish_by_ns)
    assert device.hung(hung_ns) == set()
    assert device.hung(hung_ns + 1) == {"a"}


def test_a_probe_is_hung_at_its_limit_which_is_no_plan() -> None:
    device = dispatcher(p=profiling())
    device.probe("p", 100, 1, 1, 0)
    (granted,) = device.tick(0)
    assert device.hung(granted.grant.finish_by_ns) == set()
    assert device.hung(granted.grant.finish_by_ns + 1) == {"p"}


def test_overruns_are_told_by_partition() -> None:
    device = dispatcher(a=whole(), b=whole())
    _run(device, "a", took_ns=30 * MS)
    _run(device, "b", took_ns=10 * MS)
    assert device.timing("a") == Timing(overruns=1, is_unpunctual=False, latency_ratio=None)
    assert device.timing("b").overruns == device.timing("unknown").overruns == 0


def test_a_batch_that_starts_before_its_grant_is_none_of_ours() -> None:
    device = dispatcher(a=whole())
    device.arrived("a", 1, 5 * MS)
    (granted,) = device.tick(5 * MS)
    assert device.done("a", granted.grant.grant_id, 5 * MS - 1, 6 * MS, 6 * MS) is None


def _run(device: Dispatcher, name: str, took_ns: int) -> None:
    device.arrived(name, 1, 0)
    (granted,) = device.tick(0)
    assert device.done(name, granted.grant.grant_id, 0, took_ns, took_ns) is not None
