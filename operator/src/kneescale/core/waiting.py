"""A partition's queue at one moment, as a policy weighs it: when it is due, and how long a run may take."""

from dataclasses import dataclass

from kneescale.core.partition import Partition, PartitionTerms
from kneescale.core.units import NS_PER_MS, WHOLE_GPU_PERCENT

#: Runs are planned to end this much before the deadline: what a grant, its answer and a late timer may take,
MARGIN_NS = NS_PER_MS
#: and, where it is more, this part of the SLO, for what the dispatcher does not see: a request's way to the
#: queue and back on CPUs that do other things too.
UNSEEN_PART_OF_SLO = 10

#: A partition is due this many times its planned run's latency before the deadline, so that it may find no
#: room at first and still be in time.
DUE_FACTOR = 1.5

_WITHOUT_END_NS = 1 << 62


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """Queued work; late is what not even the whole GPU can answer in time any more."""

    partition: Partition
    due_ns: int
    within_ns: int
    is_late: bool


def weigh(partition: Partition, now_ns: int) -> Waiting:
    """The partition's queue, which is not empty, at `now_ns`.

    It is due when its planned batch is full, or when its planned run must start for the oldest item to be in
    time; late work may take as long as it takes.
    """
    terms, costs = partition.ready_terms, partition.ready_costs
    end_ns = partition.deadline_ns - margin_ns(terms)
    if now_ns + costs.fastest_ns > end_ns:
        return Waiting(partition, now_ns, _WITHOUT_END_NS, is_late=True)
    batch = min(partition.queued, terms.batch)
    planned_ns = costs.latency_ns(terms.gpu_percent, batch)
    due_ns = now_ns if batch == terms.batch else max(now_ns, end_ns - int(DUE_FACTOR * planned_ns))
    return Waiting(partition, due_ns, end_ns - now_ns, is_late=False)


def margin_ns(terms: PartitionTerms) -> int:
    """How long before a deadline a run is planned to end."""
    return max(MARGIN_NS, terms.slo_ns // UNSEEN_PART_OF_SLO)


def tolerance_ns(partition: Partition) -> int:
    """How long an item that arrives now could wait before it is due."""
    terms = partition.ready_terms
    planned_ns = partition.ready_costs.latency_ns(terms.gpu_percent, 1)
    return max(0, terms.slo_ns - margin_ns(terms) - int(DUE_FACTOR * planned_ns))


def can_make_way(partition: Partition, other: Partition) -> bool:
    """Whether some run of `partition` leaves room, or is over in time, for an item of the idle `other`.

    Where none does, as with one lane and one long model, waiting would help neither.
    """
    costs = partition.ready_costs
    beside = costs.lanes[0] + other.ready_terms.gpu_percent <= WHOLE_GPU_PERCENT
    return beside or costs.fastest_ns <= tolerance_ns(other)
