"""A partition as its dispatcher sees it: the terms it has, and the items that wait in its worker's queue."""

from collections import deque
from dataclasses import dataclass, field

from kneescale.core.errors import InvalidInputError
from kneescale.core.run_costs import RunCosts
from kneescale.core.surface import LatencySurface
from kneescale.core.wire import Role


@dataclass(frozen=True, slots=True)
class PartitionTerms:
    """What the schedule says about one partition.

    `gpu_percent` and `batch` are its planned run; it may use any of `lanes`, each any number of times at
    once, and batches up to the surface's largest. A partition that profiles has no surface yet.
    """

    role: Role
    slo_ns: int
    weight: int
    gpu_percent: int
    batch: int
    lanes: tuple[int, ...]
    surface: LatencySurface | None

    def __post_init__(self) -> None:
        """Raise InvalidInputError where the planned run is none that the lanes and the surface allow."""
        if self.gpu_percent not in self.lanes:
            raise InvalidInputError(f"the planned GPU% {self.gpu_percent} is none of the lanes {self.lanes}")
        if self.surface and not 1 <= self.batch <= self.surface.batches[-1]:
            most = self.surface.batches[-1]
            raise InvalidInputError(f"the planned batch must be 1 to {most}, the largest, not {self.batch}")


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """A profiling worker's wish for one batch alone on the device."""

    gpu_percent: int
    batch: int
    asked_ns: int


@dataclass(slots=True, eq=False)
class Partition:
    """State of one partition; exists while it is configured or its worker is connected."""

    name: str
    terms: PartitionTerms | None = None
    costs: RunCosts | None = None
    #: GPU% x ns per item of the cheapest run that ends in half the SLO, the longest run a plan may choose.
    best_area_per_item: float = 0.0
    connected: bool = False
    probes: deque[ProbeRequest] = field(default_factory=deque)
    queued: int = 0
    #: How long the last probe ran: the only guess at how long the next one will.
    last_probe_ns: int = 0
    _arrivals: deque[tuple[int, int]] = field(default_factory=deque)

    def set_terms(self, terms: PartitionTerms) -> None:
        """Take new terms; the costs are worked out again only where they changed."""
        if terms == self.terms:
            return
        self.terms = terms
        self.costs = None
        if terms.surface:
            self.costs = RunCosts(terms.surface, terms.lanes)
            best = self.costs.cheapest(self.costs.max_batch, terms.slo_ns // 2)
            self.best_area_per_item = best.area_per_item if best else 0.0

    def push(self, count: int, arrived_ns: int) -> None:
        """`count` items join the tail of the queue."""
        self._arrivals.append((arrived_ns, count))
        self.queued += count

    def pop(self, count: int) -> None:
        """The oldest `count` items leave the queue; they are there."""
        self.queued -= count
        while count:
            arrived_ns, items = self._arrivals.popleft()
            if items > count:
                self._arrivals.appendleft((arrived_ns, items - count))
                return
            count -= items

    def clear(self) -> None:
        """The worker is gone, and its queue with it."""
        self._arrivals.clear()
        self.probes.clear()
        self.queued = 0

    @property
    def ready_terms(self) -> PartitionTerms:
        """The terms of a partition that has some."""
        assert self.terms is not None
        return self.terms

    @property
    def ready_costs(self) -> RunCosts:
        """The costs of a partition that serves."""
        assert self.costs is not None
        return self.costs

    @property
    def can_run(self) -> bool:
        """Whether there is work, and terms to run it on."""
        return self.queued > 0 and self.costs is not None

    @property
    def is_idle(self) -> bool:
        """Whether items may arrive at any moment, and none waits."""
        return self.queued == 0 and self.connected and self.costs is not None

    @property
    def deadline_ns(self) -> int:
        """When the oldest queued item's SLO ends; there is an item."""
        return self._arrivals[0][0] + self.ready_terms.slo_ns

    def latest_start_ns(self) -> int:
        """The last moment at which the planned run still ends by the deadline; there is an item and terms."""
        terms = self.ready_terms
        batch = min(self.queued, terms.batch)
        return self.deadline_ns - self.ready_costs.latency_ns(terms.gpu_percent, batch)
