"""What grants say of batches that run behind each other."""

from kneescale.core.wire import Grant
from kneescale_worker.batches import Batch
from kneescale_worker.grants import _planned_ns


def _granted(grant: Grant, first: Batch | None, now_ns: int) -> Batch:
    batch = Batch(40, (), grant.finish_by_ns, planned_ns=_planned_ns(grant, first, now_ns))
    if first is not None:
        assert first.behind.put(batch)
    return batch


def test_batches_behind_others_that_are_late_are_planned_as_long_as_any() -> None:
    """As the agent counts: from when the one before ended, each for 10."""
    first = _granted(Grant(1, 40, 8, finish_by_ns=10), None, now_ns=0)
    second = _granted(Grant(2, 40, 8, finish_by_ns=20, follows=1), first, now_ns=9)
    assert first.behind.close(ended_ns=14) is second
    assert second.finish_by_ns == 24
    third = _granted(Grant(3, 40, 8, finish_by_ns=34, follows=2), second, now_ns=23)
    assert [first.planned_ns, second.planned_ns, third.planned_ns] == [10, 10, 10]


def test_what_comes_only_after_the_batch_that_it_follows_says_not_how_long_it_takes() -> None:
    assert _granted(Grant(2, 40, 8, finish_by_ns=20, follows=1), None, now_ns=15).planned_ns is None
