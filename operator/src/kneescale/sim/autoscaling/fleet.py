"""Workers that start, serve and go as an autoscaler wants them, on simulated GPUs."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kneescale.core.dispatching.dispatcher import PartitionTerms
from kneescale.core.scaling.arrivals import ArrivalMeter
from kneescale.core.units import NS_PER_S
from kneescale.sim.arrivals import Times
from kneescale.sim.autoscaling.scene import Scene
from kneescale.sim.engine import Slowness
from kneescale.sim.live import LiveGpu

#: Autoscalers look back no further than this.
_REMEMBERED_S = 60

#: Tells the seeds of GPUs' noise from those of models' arrivals, which one number follows: NumPy takes a seed
#: that ends in 0 for the one without it.
_NOISE = 1

_NONE: Times = np.array([], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Place:
    """A GPU by name, or a slot: a fixed partition of it, which is as a small GPU of its own."""

    gpu: str
    slot: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to serve one model: a worker with those terms in each of these places.

    `provided` is for what they are: items per second, or a number of replicas. `gpus` is how much of GPUs
    they are to have for themselves: 1 is a whole one.
    """

    terms: Mapping[Place, PartitionTerms]
    provided: float
    gpus: float


#: By model.
Plan = Mapping[str, Wanted]


@dataclass(frozen=True, slots=True)
class Second:
    """One second of a worker: requests that came, the part of it that it was busy, those in flight."""

    requests: int
    busy: float
    in_flight: float


@dataclass(slots=True, eq=False)
class Worker:
    """One model's worker in one place, which serves from `ready_s` on; `number` is that of its model."""

    place: Place
    number: int
    ready_s: float
    terms: PartitionTerms
    gpu: LiveGpu
    meter: ArrivalMeter
    seconds: deque[Second] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_S))
    busy_ns: int = 0

    def is_ready(self, now_s: float) -> bool:
        """Whether it serves."""
        return now_s >= self.ready_s


class Fleet:
    """The GPUs of a scene. A request goes to any ready worker of its model; without one it is lost."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._products = {gpu.name: gpu.product for gpu in scene.scenario.gpus}
        self._gpus: dict[Place, LiveGpu] = {}
        self._rng = np.random.default_rng(scene.trial.seed)
        self.workers: dict[str, list[Worker]] = {model.name: [] for model in scene.models}
        #: Requests that no worker was there for, by model.
        self.lost: list[list[Times]] = [[] for _ in scene.models]

    @property
    def gpus(self) -> Sequence[LiveGpu]:
        """All that ever served, in the order of their first use."""
        return tuple(self._gpus.values())

    def apply(self, plan: Plan, now_s: float, start_s: float) -> None:
        """Start workers that are missing, which takes so long; others go once as many serve as are wanted."""
        for number, model in enumerate(self._scene.models):
            terms, before = plan[model.name].terms, self.workers[model.name]
            held = {worker.place: worker for worker in before}
            kept = [
                held.get(place) or self._start(place, number, of_one, now_s + start_s)
                for place, of_one in terms.items()
            ]
            for worker in kept:
                worker.terms = terms[worker.place]
            missing = sum(not worker.is_ready(now_s) for worker in kept)
            spare = [worker for worker in before if worker not in kept and worker.is_ready(now_s)]
            self.workers[model.name] = kept + spare[:missing]

    def serve(self, now_s: int) -> None:
        """One second, from then on."""
        until_ns = (now_s + 1) * NS_PER_S
        routed = {place: [_NONE] * len(self._scene.models) for place in self._gpus}
        for worker, times in self._route(now_s):
            routed[worker.place][worker.number] = times
            for at_ns in times.tolist():
                worker.meter.add(1, at_ns)
        for place, gpu in self._gpus.items():
            gpu.configure(self._terms(place, now_s), now_s * NS_PER_S)
            gpu.serve(routed[place], until_ns)
        for worker, times in self._serving(now_s, routed):
            worker.seconds.append(_second(worker, len(times), until_ns))

    def finish(self) -> None:
        """What still waits at the end has until its SLO is over."""
        slo_ns = max(tenant.slo_ns for gpu in self.gpus for tenant in gpu.tenants)
        for gpu in self.gpus:
            gpu.serve([_NONE] * len(gpu.tenants), self._scene.duration_s * NS_PER_S + slo_ns + 1)

    def _start(self, place: Place, number: int, terms: PartitionTerms, ready_s: float) -> Worker:
        if place not in self._gpus:
            seed = [*self._scene.trial.seed, _NOISE, 1 + len(self._gpus)]
            slowness = Slowness(self._scene.trial.noise, np.random.default_rng(seed))
            self._gpus[place] = LiveGpu(self._scene.tenants(self._products[place.gpu]), slowness)
        gpu, meter = self._gpus[place], ArrivalMeter(round(ready_s * NS_PER_S))
        return Worker(place, number, ready_s, terms, gpu, meter, busy_ns=gpu.journal.busy_ns[number])

    def _route(self, now_s: int) -> Iterator[tuple[Worker, Times]]:
        for number, model in enumerate(self._scene.models):
            arrivals = self._scene.arrivals[number]
            first, last = np.searchsorted(arrivals, (now_s * NS_PER_S, (now_s + 1) * NS_PER_S))
            times = arrivals[first:last]
            ready = [worker for worker in self.workers[model.name] if worker.is_ready(now_s)]
            if not ready:
                self.lost[number].append(times)
                continue
            chosen = self._rng.integers(len(ready), size=len(times))
            for index, worker in enumerate(ready):
                yield worker, times[chosen == index]

    def _serving(self, now_s: int, routed: Mapping[Place, Sequence[Times]]) -> Iterator[tuple[Worker, Times]]:
        for workers in self.workers.values():
            for worker in workers:
                if worker.is_ready(now_s):
                    yield worker, routed[worker.place][worker.number]

    def _terms(self, place: Place, now_s: float) -> dict[str, PartitionTerms]:
        return {
            model: worker.terms
            for model, workers in self.workers.items()
            for worker in workers
            if worker.place == place and worker.is_ready(now_s)
        }


def _second(worker: Worker, requests: int, until_ns: int) -> Second:
    journal, busy_ns = worker.gpu.journal, worker.busy_ns
    worker.busy_ns = journal.busy_ns[worker.number]
    in_flight = journal.in_flight(worker.number, until_ns - NS_PER_S, until_ns, worker.terms.slo_ns)
    return Second(requests, (worker.busy_ns - busy_ns) / NS_PER_S, in_flight)
