"""The queue of items: requests in the order of their arrival, taken from the head in batches."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import itemgetter
from threading import Lock

import numpy as np

from kneescale_worker.errors import QueueFullError
from kneescale_worker.tensors import Array


class Request:
    """A request in the queue: its items may run in several batches; `answer` gathers them."""

    def __init__(self, inputs: Sequence[Array], arrived_ns: int) -> None:
        self.inputs = inputs
        self.items = len(inputs[0])
        self.arrived_ns = arrived_ns
        #: The outputs, or why there are none; cancelled when nobody waits for them any more.
        self.answer: asyncio.Future[list[Array]] = asyncio.get_running_loop().create_future()
        self._parts: dict[int, Sequence[Array]] = {}
        self._missing = self.items
        self._lock = Lock()
        # Whoever gave up leaves its items in the queue until a batch takes them; what it sent is let go now.
        self.answer.add_done_callback(self._let_go)

    def deliver(self, start: int, outputs: Sequence[Array]) -> bool:
        """Take the outputs of the items from `start` on, on any thread; whether no others are missing.

        Batches on different lanes may end in any order.
        """
        with self._lock:
            self._parts[start] = outputs
            self._missing -= len(outputs[0])
            return self._missing == 0

    def finish(self) -> None:
        """Answer with what was delivered, on the event loop."""
        if not self.answer.done():
            self.answer.set_result(
                _joined([part for _, part in sorted(self._parts.items(), key=itemgetter(0))])
            )

    def fail(self, error: Exception) -> None:
        """Answer with an error, whatever comes of the other items; on the event loop."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def _let_go(self, _: object) -> None:
        self.inputs = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """Items `start` to `stop` of a request, which run in one batch."""

    request: Request
    start: int
    stop: int
    #: The inputs of these items; none where nobody waits for them any more.
    inputs: list[Array] = field(compare=False, repr=False)


class ItemQueue:
    """First in, first out; requests of more than one item are cut where a batch ends.

    Requests are pushed and failed on the event loop, items are taken by any thread.
    """

    def __init__(self, limit: int) -> None:
        #: The most items that may wait.
        self.limit = limit
        self._requests: deque[Request] = deque()
        self._taken_of_head = 0
        self._items = 0
        self._lock = Lock()
        #: Set while there are items.
        self.has_items = asyncio.Event()

    def __len__(self) -> int:
        return self._items

    def push(self, request: Request) -> None:
        """Append a request.

        Raises QueueFullError when its items do not fit.
        """
        with self._lock:
            if self._items + request.items > self.limit:
                raise QueueFullError(
                    f"{self._items} items wait; {request.items} more would pass the queue's limit of "
                    f"{self.limit}"
                )
            self._requests.append(request)
            self._items += request.items
            self.has_items.set()

    def take(self, count: int) -> list[Slice]:
        """Remove the oldest `count` items (fewer when there are fewer).

        Items that nobody waits for any more are removed and counted (the dispatcher counted them too),
        but not returned.
        """
        with self._lock:
            slices = [part for part in self._cut(count) if not part.request.answer.done()]
            if not self._items:
                self.has_items.clear()
        return slices

    def waiting(self) -> list[tuple[int, int]]:
        """(items, arrived_ns) of each request that has items in the queue now, oldest first."""
        with self._lock:
            taken = chain([self._taken_of_head], repeat(0))
            return [
                (request.items - count, request.arrived_ns)
                for request, count in zip(self._requests, taken, strict=False)
            ]

    @property
    def oldest_arrived_ns(self) -> int | None:
        """When the request came that waits at the head; None when none does."""
        with self._lock:
            return self._requests[0].arrived_ns if self._requests else None

    def fail(self, count: int, error: Exception) -> None:
        """Remove the oldest `count` items (fewer when there are fewer); their requests fail with `error`.

        A request fails whole: what is left of it is still counted here, and run no more.
        """
        for part in self.take(count):
            part.request.fail(error)

    def _cut(self, count: int) -> Iterator[Slice]:
        while count and self._requests:
            head, start = self._requests[0], self._taken_of_head
            stop = min(head.items, start + count)
            count -= stop - start
            self._items -= stop - start
            self._taken_of_head = stop
            if stop == head.items:
                self._requests.popleft()
                self._taken_of_head = 0
            yield Slice(head, start, stop, [array[start:stop] for array in head.inputs])


def _joined(parts: Sequence[Sequence[Array]]) -> list[Array]:
    if len(parts) == 1:
        return list(parts[0])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
