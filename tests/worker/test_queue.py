import asyncio
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale_worker.errors import QueueFullError
from kneescale_worker.queue import ItemQueue, Request, Slice


def _request(items: int, first: int = 0, arrived_ns: int = 0) -> Request:
    return Request([np.arange(first, first + items)], arrived_ns)


def _answer(part: Slice) -> None:
    if part.request.deliver(part.start, [array * 10 for array in part.inputs]):
        part.request.finish()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.lists(st.integers(1, 9), min_size=1))
def test_each_item_runs_once_in_order(sizes: list[int], takes: list[int]) -> None:
    """And each request gets the answers to its own items."""

    async def scenario() -> None:
        queue = ItemQueue(limit=1000)
        firsts = [sum(sizes[:index]) for index in range(len(sizes))]
        requests = [_request(size, first) for size, first in zip(sizes, firsts, strict=True)]
        for request in requests:
            queue.push(request)
        taken: list[list[Slice]] = []
        while len(queue):
            before, count = len(queue), takes[len(taken) % len(takes)]
            taken.append(queue.take(count))
            assert before - len(queue) == min(count, before)
            assert sum(items for items, _ in queue.waiting()) == len(queue)
        order = np.concatenate([part.inputs[0] for batch in taken for part in batch])
        assert order.tolist() == list(range(sum(sizes)))
        # Batches on different lanes end in any order.
        for batch in reversed(taken):
            for part in batch:
                _answer(part)
        for request, size, first in zip(requests, sizes, firsts, strict=True):
            [output] = await request.answer
            assert output.tolist() == [10 * value for value in range(first, first + size)]
        assert not queue.has_items.is_set()

    asyncio.run(scenario())


async def test_a_full_queue_refuses_and_keeps_what_it_has() -> None:
    queue = ItemQueue(limit=4)
    queue.push(_request(3, arrived_ns=7))
    with pytest.raises(QueueFullError, match="3 items wait; 2 more would pass the queue's limit of 4"):
        queue.push(_request(2))
    queue.push(_request(1, arrived_ns=8))
    assert queue.waiting() == [(3, 7), (1, 8)]


async def test_what_waits_is_told_whole_while_others_take_of_it() -> None:
    """The agent grants the first of it before it has heard of the last."""
    queue = ItemQueue(limit=10)
    for items in (3, 2, 1):
        queue.push(_request(items, arrived_ns=items))
    queue.take(1)
    told = []
    for announced in queue.waiting():
        told.append(announced)
        queue.take(announced[0])
    assert told == [(2, 3), (2, 2), (1, 1)]


async def test_abandoned_items_are_taken_but_not_run() -> None:
    queue = ItemQueue(limit=10)
    abandoned, wanted = _request(3), _request(2, first=3)
    queue.push(abandoned)
    queue.push(wanted)
    abandoned.answer.cancel()
    assert [part.request for part in queue.take(4)] == [wanted]
    assert len(queue) == 1


async def test_what_an_abandoned_request_sent_is_let_go_while_its_items_wait() -> None:
    queue = ItemQueue(limit=10)
    sent = np.arange(3)
    held = weakref.ref(sent)
    request = Request([sent], 0)
    queue.push(request)
    del sent
    assert held() is not None
    request.answer.cancel()
    await asyncio.sleep(0)
    assert held() is None
    assert (len(queue), queue.take(3)) == (3, [])


async def test_a_request_fails_whole() -> None:
    queue = ItemQueue(limit=10)
    request = _request(4)
    queue.push(request)
    [part] = queue.take(2)
    part.request.fail(RuntimeError("no"))
    assert queue.take(2) == []
    with pytest.raises(RuntimeError):
        await request.answer


async def test_a_request_of_which_an_item_is_refused_fails_whole_and_its_other_items_are_counted() -> None:
    queue = ItemQueue(limit=10)
    refused, wanted = _request(4), _request(2, first=4)
    queue.push(refused)
    queue.push(wanted)
    [running] = queue.take(1)
    queue.fail(2, RuntimeError("late"))
    assert len(queue) == 3
    _answer(running)
    with pytest.raises(RuntimeError, match="late"):
        await refused.answer
    assert [part.request for part in queue.take(2)] == [wanted]
    assert [part.request for part in queue.take(2)] == [wanted]
    assert not queue.has_items.is_set()


async def test_failing_all_answers_all() -> None:
    queue = ItemQueue(limit=10)
    requests = [_request(2), _request(3)]
    for request in requests:
        queue.push(request)
    queue.take(1)
    queue.fail(len(queue), RuntimeError("over"))
    assert len(queue) == 0
    for request in requests:
        with pytest.raises(RuntimeError):
            await request.answer
