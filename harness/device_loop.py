"""A device, its workers and Poisson arrivals around a dispatcher, as a deterministic event loop.

What the tests of the core and its benchmark drive the dispatcher with: workers that run each grant for the
time that their surface says and answer, or refuse what they are told to.
"""

import heapq
import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from kneescale.core.dispatching.dispatcher import Dispatcher, Granted, PartitionTerms, Refused
from kneescale.core.units import NS_PER_MS, NS_PER_S, WHOLE_GPU_PERCENT, ms_to_ns
from kneescale.core.wire import Role

#: Each message between a worker and its agent takes this long.
MESSAGE_NS = 50_000
#: The partition that profiles.
PROFILER = "profiler"
_PROFILER_TERMS = PartitionTerms(
    Role.PROFILE, NS_PER_MS, 1, WHOLE_GPU_PERCENT, 1, (WHOLE_GPU_PERCENT,), surface=None
)


@dataclass(frozen=True, slots=True)
class Load:
    """One model on the device: its terms and its Poisson arrivals."""

    terms: PartitionTerms
    rate_rps: float


@dataclass(slots=True)
class Outcome:
    """What the items of one model saw."""

    waits_ns: list[int] = field(default_factory=list)
    arrived: int = 0
    refused: int = 0
    within_slo: int = 0
    #: GPU% x ns of the batches that ended while arrivals went on.
    area_percent_ns: int = 0

    @property
    def attainment(self) -> float:
        """The share of all items, those never answered included, that were answered within the SLO."""
        return self.within_slo / self.arrived


@dataclass(slots=True)
class Result:
    """What a run of the loop saw."""

    outcomes: dict[str, Outcome]
    ticks: int = 0
    grants: int = 0
    #: Of them, those whose lane another one had before, without a pause.
    followed: int = 0
    probes: int = 0
    #: The highest sum of GPU% at any instant, counted here and not by the dispatcher.
    peak_percent: int = 0

    @property
    def worst_attainment(self) -> float:
        """The attainment of the model that fared worst."""
        return min(outcome.attainment for outcome in self.outcomes.values())


class DeviceLoop:
    """Runs a dispatcher against simulated workers until the arrivals end and every queue is empty.

    `slowdown` is the largest factor by which a batch may run longer than its surface says; each batch draws
    its own, uniformly from 1. With `probe_ms` a profiling worker beside them asks for one probe after the
    other, each of which takes so long.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        loads: Mapping[str, Load],
        *,
        seed: int = 1,
        slowdown: float = 1.0,
        probe_ms: float | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._loads = loads
        self._random = random.Random(seed)
        self._slowdown = slowdown
        self._probe_ns = None if probe_ms is None else ms_to_ns(probe_ms)
        self._events: list[tuple[int, int, Event]] = []
        self._sequence = count()
        self._queues: dict[str, deque[int]] = {name: deque() for name in loads}
        #: When the batch of each grant ends.
        self._ends_ns: dict[int, int] = {}
        #: Grants whose lane another one has next.
        self._followed: set[int] = set()
        self._held_percent = 0
        self._arrivals_end_ns = 0
        self.result = Result({name: Outcome() for name in loads})

    def run(self, duration_s: float) -> Result:
        """Arrivals for `duration_s`, then until everything is answered or refused."""
        self._arrivals_end_ns = round(duration_s * NS_PER_S)
        terms = {name: load.terms for name, load in self._loads.items()}
        if self._probe_ns is not None:
            terms[PROFILER] = _PROFILER_TERMS
        self._dispatcher.configure(terms)
        self._dispatcher.joined(PROFILER, 0)
        self._ask_for_probe(0)
        for name, load in self._loads.items():
            self._dispatcher.joined(name, 0)
            for arrived_ns in self._poisson(load.rate_rps):
                self._at(arrived_ns + MESSAGE_NS, Arrival(name, arrived_ns))
        wake_ns: int | None = None
        while self._events or wake_ns is not None:
            now_ns = self._next_ns(wake_ns)
            while self._events and self._events[0][0] <= now_ns:
                self._handle(heapq.heappop(self._events)[2], now_ns)
            refusals, grants = self.decide(now_ns)
            for refused in refusals:
                self._refuse(refused)
            for granted in grants:
                self._start(granted, now_ns)
            self.result.ticks += 1
            wake_ns = self._dispatcher.next_wake_ns(now_ns)
        return self.result

    def decide(self, now_ns: int) -> tuple[list[Refused], list[Granted]]:
        """All that is to be refused and granted now."""
        return self._dispatcher.refuse(now_ns), self._dispatcher.tick(now_ns)

    def _next_ns(self, wake_ns: int | None) -> int:
        event_ns = self._events[0][0] if self._events else None
        return min(time for time in (wake_ns, event_ns) if time is not None)

    def _handle(self, event: "Event", now_ns: int) -> None:
        if isinstance(event, Arrival):
            self._queues[event.name].append(event.arrived_ns)
            self.result.outcomes[event.name].arrived += 1
            self._dispatcher.arrived(event.name, 1, event.arrived_ns)
            return
        name, grant = event.granted.partition, event.granted.grant
        if grant.grant_id not in self._followed:
            self._held_percent -= grant.gpu_percent
        if name == PROFILER:
            self._dispatcher.done(name, grant.grant_id, event.started_ns, event.ended_ns, now_ns)
            self.result.probes += 1
            self._ask_for_probe(now_ns)
            return
        if event.ended_ns <= self._arrivals_end_ns:
            area = grant.gpu_percent * (event.ended_ns - event.started_ns)
            self.result.outcomes[name].area_percent_ns += area
        self._dispatcher.done(name, grant.grant_id, event.started_ns, event.ended_ns, now_ns)

    def _refuse(self, refused: Refused) -> None:
        self.result.outcomes[refused.partition].refused += refused.count
        for _ in range(refused.count):
            self._queues[refused.partition].popleft()

    def _ask_for_probe(self, now_ns: int) -> None:
        if self._probe_ns is not None and now_ns < self._arrivals_end_ns:
            self._dispatcher.probe(PROFILER, WHOLE_GPU_PERCENT, 1, self._probe_ns, now_ns)

    def _start(self, granted: Granted, now_ns: int) -> None:
        name, grant = granted.partition, granted.grant
        started_ns = max(now_ns + MESSAGE_NS, self._ends_ns.get(grant.follows, 0))
        ended_ns = self._ends_ns[grant.grant_id] = started_ns + self._duration_ns(granted)
        if name != PROFILER:
            self._answer(name, grant.batch, ended_ns)
        self._at(ended_ns + MESSAGE_NS, Completion(granted, started_ns, ended_ns))
        self.result.grants += 1
        if grant.follows:
            self.result.followed += 1
            self._followed.add(grant.follows)
        else:
            self._held_percent += grant.gpu_percent
        self.result.peak_percent = max(self.result.peak_percent, self._held_percent)
        assert self.result.peak_percent <= WHOLE_GPU_PERCENT

    def _duration_ns(self, granted: Granted) -> int:
        if granted.partition == PROFILER:
            assert self._probe_ns is not None
            return self._probe_ns
        surface, grant = self._loads[granted.partition].terms.surface, granted.grant
        assert surface is not None
        factor = self._random.uniform(1.0, self._slowdown)
        return ms_to_ns(surface.latency_ms(grant.gpu_percent, grant.batch) * factor)

    def _answer(self, name: str, batch: int, ended_ns: int) -> None:
        outcome, slo_ns = self.result.outcomes[name], self._loads[name].terms.slo_ns
        for _ in range(batch):
            waited_ns = ended_ns - self._queues[name].popleft()
            outcome.waits_ns.append(waited_ns)
            outcome.within_slo += waited_ns <= slo_ns

    def _poisson(self, rate_rps: float) -> Iterator[int]:
        now_ns = 0
        while True:
            now_ns += round(self._random.expovariate(rate_rps) * NS_PER_S)
            if now_ns >= self._arrivals_end_ns:
                return
            yield now_ns

    def _at(self, time_ns: int, event: "Event") -> None:
        heapq.heappush(self._events, (time_ns, next(self._sequence), event))


@dataclass(frozen=True, slots=True)
class Arrival:
    """One item reached the queue of a model's worker."""

    name: str
    arrived_ns: int


@dataclass(frozen=True, slots=True)
class Completion:
    """A worker reports a batch."""

    granted: Granted
    started_ns: int
    ended_ns: int


Event = Arrival | Completion
