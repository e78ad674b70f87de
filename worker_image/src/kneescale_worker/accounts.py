"""One account of every inference request, whichever transport brought it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from kneescale.core.errors import InvalidInputError
from kneescale.core.wire import Measured
from kneescale_worker.errors import (
    BatchFailedError,
    ModelNotFoundError,
    QueueFullError,
    TooLateError,
    UnavailableError,
)
from kneescale_worker.measure import Window
from kneescale_worker.metrics import Drop, Metrics, Outcome

_DROPS: dict[type[BaseException], tuple[Outcome, Drop]] = {
    QueueFullError: (Outcome.REFUSED, Drop.QUEUE_FULL),
    TooLateError: (Outcome.REFUSED, Drop.TOO_LATE),
    UnavailableError: (Outcome.REFUSED, Drop.UNAVAILABLE),
    BatchFailedError: (Outcome.FAILED, Drop.BATCH_FAILED),
    asyncio.CancelledError: (Outcome.ABANDONED, Drop.ABANDONED),
}


#: Of all requests in flight, those that wait included. Without a limit, large ones and slow clients could
#: take a node's memory before the queue is full.
LARGEST_HELD_BYTES = 2**30


class Arrival:
    """A request as it comes: when, and how much of it."""

    def __init__(self, hold: Callable[[int], None]) -> None:
        #: CLOCK_MONOTONIC, of its last byte: how fast a client sends is no part of its SLO.
        self.ns = time.monotonic_ns()
        #: What came of it.
        self.bytes = 0
        self._hold = hold

    def received(self, count: int) -> None:
        """So many more bytes came.

        Raises QueueFullError where the worker has no room for them.
        """
        self._hold(count)
        self.bytes += count
        self.ns = time.monotonic_ns()


class RequestAccounts:
    """Who is in flight, how requests ended, and when the last one came."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.last_arrival_ns = time.monotonic_ns()
        self._window = Window(self.last_arrival_ns)
        self._in_flight = 0
        #: What came of the requests in flight.
        self.held_bytes = 0
        #: Set while no request is in flight.
        self.idle = asyncio.Event()
        self.idle.set()

    @contextmanager
    def request(self) -> Iterator[Arrival]:
        """Account for the request that is handled inside."""
        arrival = Arrival(self._hold)
        self.last_arrival_ns = arrival.ns
        self._in_flight += 1
        self.idle.clear()
        try:
            yield arrival
        except (InvalidInputError, ModelNotFoundError, web.HTTPClientError):
            self._metrics.invalid()
            raise
        except BaseException as error:
            self._metrics.dropped(*_DROPS.get(type(error), (Outcome.FAILED, Drop.ERROR)))
            self._window.failed(time.monotonic_ns())
            raise
        else:
            self._answered(arrival.ns)
        finally:
            self.held_bytes -= arrival.bytes
            self._in_flight -= 1
            if not self._in_flight:
                self.idle.set()

    def measure(self, slo_ns: int) -> Measured:
        """The figures of the last window, now."""
        return self._window.measure(slo_ns, time.monotonic_ns())

    def _hold(self, count: int) -> None:
        held_bytes = self.held_bytes + count
        if held_bytes > LARGEST_HELD_BYTES:
            raise QueueFullError(
                f"{held_bytes} bytes of requests would pass the limit of {LARGEST_HELD_BYTES}"
            )
        self.held_bytes = held_bytes

    def _answered(self, arrived_ns: int) -> None:
        now_ns = time.monotonic_ns()
        self._metrics.answered(now_ns - arrived_ns)
        self._window.answered(now_ns - arrived_ns, now_ns)
