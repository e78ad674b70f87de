"""One account of every inference request, whichever transport brought it."""

import asyncio
import time
from collections.abc import Iterator
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


class Arrival:
    """When a request came, of which a transport may have had the head alone at first."""

    def __init__(self) -> None:
        #: CLOCK_MONOTONIC; from then on its SLO counts.
        self.ns = time.monotonic_ns()

    def complete(self) -> None:
        """Its last byte came only now: how fast a client sends is no part of its SLO."""
        self.ns = time.monotonic_ns()


class RequestAccounts:
    """Who is in flight, how requests ended, and when the last one came."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.last_arrival_ns = time.monotonic_ns()
        self._window = Window(self.last_arrival_ns)
        self._in_flight = 0
        #: Set while no request is in flight.
        self.idle = asyncio.Event()
        self.idle.set()

    @contextmanager
    def request(self) -> Iterator[Arrival]:
        """Account for the request that is handled inside."""
        arrival = Arrival()
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
            self._in_flight -= 1
            if not self._in_flight:
                self.idle.set()

    def measure(self, slo_ns: int, queued: int) -> Measured:
        """The figures of the last window, now."""
        return self._window.measure(slo_ns, queued, time.monotonic_ns())

    def _answered(self, arrived_ns: int) -> None:
        now_ns = time.monotonic_ns()
        self._metrics.answered(now_ns - arrived_ns)
        self._window.answered(now_ns - arrived_ns, now_ns)
