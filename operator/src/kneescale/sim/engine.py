"""The event loop of one simulated GPU."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

import numpy as np

from kneescale.sim.arrivals import Requests
from kneescale.sim.gpu import Gpu
from kneescale.sim.queues import Queues
from kneescale.sim.record import Record
from kneescale.sim.run import Run
from kneescale.sim.scheduler import Drop, Scheduler, Start
from kneescale.sim.tenant import Tenant

_NEVER_NS: Final = 1 << 62
_NOISE_CHUNK: Final = 4096

SchedulerFactory = Callable[[tuple[Tenant, ...]], Scheduler]


class Slowness:
    """How many times as long as its surface says each batch takes: log-normal, of mean 1.

    `deviation` is its standard deviation; 0.1 is a noise of 10 %.
    """

    def __init__(self, deviation: float, rng: np.random.Generator) -> None:
        self._sigma = float(np.sqrt(np.log1p(deviation**2)))
        self._rng = rng
        self._drawn: list[float] = []

    def draw(self) -> float:
        """The next batch's factor."""
        if not self._sigma:
            return 1.0
        if not self._drawn:
            self._drawn = self._rng.lognormal(-(self._sigma**2) / 2, self._sigma, _NOISE_CHUNK).tolist()
        return self._drawn.pop()


class System(Protocol):
    """Whatever can serve a GPU's requests: a scheduler in this event loop, or something with its own."""

    def __call__(
        self,
        tenants: tuple[Tenant, ...],
        requests: Requests,
        *,
        from_ns: int,
        until_ns: int,
        slowness: Slowness,
        allowed_misses: Sequence[int] | None = None,
    ) -> Record:
        """Serve the requests, by tenant, and record what happens to those from `from_ns` to `until_ns`.

        It ends when the longest SLO after `until_ns` is over: what waits then is missed whatever comes. With
        `allowed_misses`, by tenant, it also ends as soon as one has missed more.
        """


def scheduled(make_scheduler: SchedulerFactory) -> System:
    """The system whose GPU is run by that scheduler."""
    return partial(simulate, make_scheduler=make_scheduler)


def simulate(
    tenants: tuple[Tenant, ...],
    requests: Requests,
    *,
    make_scheduler: SchedulerFactory,
    from_ns: int,
    until_ns: int,
    slowness: Slowness,
    allowed_misses: Sequence[int] | None = None,
) -> Record:
    """Serve the requests with a scheduler, as System says."""
    loop = Loop(tenants, make_scheduler(tenants), slowness)
    loop.feed(requests)
    record = Record(tenants, loop.arrivals_ns, from_ns, until_ns, allowed_misses)
    loop.run(until_ns + max(tenant.slo_ns for tenant in tenants), record)
    return record


class Recorder(Protocol):
    """Whoever keeps what happens to requests, which go by their number among all of their model's."""

    @property
    def is_over(self) -> bool:
        """Whether nothing that may still come matters."""

    def drop(self, model: int, first: int, count: int) -> None:
        """`count` requests from number `first` on were refused."""

    def end(self, run: Run) -> None:
        """A batch was answered."""


class Loop:
    """One GPU under a scheduler: requests are fed to it and it runs until a time, as often as is wanted.

    `arrivals_ns` are all requests that it was fed, by model.
    """

    def __init__(self, tenants: tuple[Tenant, ...], scheduler: Scheduler, slowness: Slowness) -> None:
        self.arrivals_ns: list[list[int]] = [[] for _ in tenants]
        self._scheduler = scheduler
        self._slowness = slowness
        self._queues = Queues(tenants, self.arrivals_ns)
        self._gpu = Gpu(tenants)
        self._wake_ns: int | None = None
        #: When the requests come that are not in a queue yet, and their models; the last is none and never.
        self._times = [_NEVER_NS]
        self._models = [len(tenants)]
        self._next = 0

    def feed(self, requests: Requests) -> None:
        """More requests, by model, all later than those before and than where it has run to."""
        for known_ns, times_ns in zip(self.arrivals_ns, requests.times_by_model, strict=True):
            known_ns.extend(times_ns)
        times, models = requests.in_order
        self._times = [*self._times[self._next : -1], *times, _NEVER_NS]
        self._models = [*self._models[self._next : -1], *models, len(self.arrivals_ns)]
        self._next = 0

    def run(self, end_ns: int, recorder: Recorder) -> None:
        """Go on until `end_ns`, or until the recorder says that it is over."""
        scheduler, gpu = self._scheduler, self._gpu
        while True:
            now_ns = min(gpu.next_end_ns() or _NEVER_NS, self._wake_ns or _NEVER_NS)
            if not scheduler.is_blocked(gpu):
                now_ns = min(now_ns, self._times[self._next])
            if now_ns > end_ns:
                return
            self._end_runs(now_ns, recorder)
            self._take_arrivals(now_ns)
            self._carry_out(now_ns, recorder)
            if recorder.is_over:
                return
            self._wake_ns = scheduler.wake_ns(now_ns)
            assert self._wake_ns is None or self._wake_ns > now_ns, "a scheduler would be woken for ever"

    def is_idle(self, model: int) -> bool:
        """Whether nothing of the model waits or runs; what came while the scheduler was blocked waits too."""
        is_queued = self._queues.length(model) or model in self._models[self._next :]
        return not is_queued and all(run.model != model for run in self._gpu.runs)

    def _take_arrivals(self, now_ns: int) -> None:
        while self._times[self._next] <= now_ns:
            model = self._models[self._next]
            self._scheduler.arrived(model, self._queues.push(model))
            self._next += 1

    def _end_runs(self, now_ns: int, recorder: Recorder) -> None:
        for run in self._gpu.take_ended(now_ns):
            recorder.end(run)
            self._scheduler.ended(run)

    def _carry_out(self, now_ns: int, recorder: Recorder) -> None:
        for command in self._scheduler.decide(self._queues, self._gpu, now_ns):
            if isinstance(command, Drop):
                first = self._queues.pop(command.model, command.count)
                recorder.drop(command.model, first, command.count)
            else:
                self._start(command, now_ns)

    def _start(self, start: Start, now_ns: int) -> None:
        first = self._queues.pop(start.model, start.batch)
        factor = self._slowness.draw()
        self._gpu.start(Run(start.model, start.batch, start.gpu_percent, now_ns, first, start.tag, factor))
