"""One account of every inference request, whichever transport brought it."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kneescale.core.errors import InvalidInputError
from kneescale.core.units import NS_PER_S
from kneescale.core.wire import Measured
from kneescale_worker.errors import ModelNotFoundError, QueueFullError, TooLateError, UnavailableError
from kneescale_worker.measure import Window
from kneescale_worker.metrics import Metrics, Outcome


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
    def request(self) -> Iterator[int]:
        """Account for the request that is handled inside; gives its arrival (CLOCK_MONOTONIC ns)."""
        arrived_ns = self.last_arrival_ns = time.monotonic_ns()
        self._in_flight += 1
        self.idle.clear()
        outcome = Outcome.FAILED
        try:
            yield arrived_ns
            outcome = Outcome.ANSWERED
        except (InvalidInputError, ModelNotFoundError):
            outcome = Outcome.INVALID
            raise
        except (QueueFullError, TooLateError, UnavailableError):
            outcome = Outcome.REFUSED
            raise
        except asyncio.CancelledError:
            outcome = Outcome.ABANDONED
            raise
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self.idle.set()
            self._close(outcome, arrived_ns)

    def measure(self, slo_ns: int, queued: int) -> Measured:
        """The figures of the last window, now."""
        return self._window.measure(slo_ns, queued, time.monotonic_ns())

    def _close(self, outcome: Outcome, arrived_ns: int) -> None:
        now_ns = time.monotonic_ns()
        self._metrics.request(outcome, (now_ns - arrived_ns) / NS_PER_S)
        if outcome is Outcome.ANSWERED:
            self._window.answered(now_ns - arrived_ns, now_ns)
        elif outcome is not Outcome.INVALID:
            self._window.failed(now_ns)
