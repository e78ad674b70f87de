"""Who waits, oldest first."""

from kneescale.core.dispatching.arrival_queue import ArrivalQueue


def three_and_two() -> ArrivalQueue:
    queue = ArrivalQueue()
    queue.push(3, arrived_ns=10)
    queue.push(2, arrived_ns=20)
    return queue


def test_the_oldest_leave_first_be_they_a_part_of_those_that_came_at_once() -> None:
    queue = three_and_two()
    assert queue.pop(2) == [(10, 2)]
    assert (queue.count, queue.oldest_ns, queue.older_than(20)) == (3, 10, 1)
    assert queue.pop(2) == [(10, 1), (20, 1)]
    assert (queue.count, queue.oldest_ns) == (1, 20)


def test_who_came_at_that_time_is_not_older() -> None:
    queue = three_and_two()
    assert [queue.older_than(since_ns) for since_ns in (10, 11, 20, 21)] == [0, 3, 3, 5]


def test_the_first_since_is_looked_for_among_the_oldest_alone() -> None:
    queue = three_and_two()
    assert queue.first_since(10, among=1) == 10
    assert queue.first_since(11, among=3) is None
    assert queue.first_since(11, among=4) == 20
    assert queue.first_since(21, among=9) is None


def test_a_queue_whose_worker_is_gone_is_empty() -> None:
    queue = three_and_two()
    queue.clear()
    assert (queue.count, queue.older_than(99), queue.first_since(0, among=9)) == (0, 0, None)
