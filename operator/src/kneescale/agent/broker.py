"""The broker of one device: workers' messages in, the core's dispatcher asked; answers, refusals, grants out.

No I/O and no clock: what it is told and when decides what it says.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Final

from kneescale.agent.assignment import AssignedPartition, Assignment
from kneescale.agent.trace import Tenant, Trace
from kneescale.api.gpu_schedule import Policy
from kneescale.core.dispatching.dispatcher import Dispatcher, Granted, Ran, Refused, Timing
from kneescale.core.dispatching.policies import policy_named
from kneescale.core.dispatching.policy import Wait
from kneescale.core.errors import ProtocolError
from kneescale.core.scaling.arrivals import ArrivalMeter, Traffic, traffic_of
from kneescale.core.units import NS_PER_MS, NS_PER_US
from kneescale.core.wire import Arrived, Done, Hello, Measured, Message, Probe, Progress, Role, Terms

#: Far above a worker's own limit: what passes it is no honest queue.
_MAX_QUEUED_ITEMS: Final = 65_536
#: Longer than deciding on a grant and its way take, on a busy machine too.
_LEAD_NS: Final = NS_PER_MS


@dataclass(slots=True)
class _Worker:
    """A worker that said hello and has not left."""

    role: int
    tenant: Tenant
    lanes: tuple[int, ...]
    born_ns: int
    connected_ns: int
    #: What it was told last.
    terms: Terms
    measured: Measured | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One partition of the schedule as it is now.

    `seen` tells whether it ever had a worker here, `hung` whether that had a batch which never ended.
    """

    name: str
    namespace: str
    model: str
    connected: bool
    seen: bool
    hung: bool
    queued_items: int
    measured: Measured | None
    timing: Timing
    #: How far its profile is; None unless it is one.
    progress: Progress | None = None
    #: Items that arrived, as an ArrivalMeter counts them.
    arrivals: tuple[int, ...] = ()

    @property
    def traffic(self) -> Traffic | None:
        """What that says; worked out for who asks, who no longer holds up the dispatcher."""
        return traffic_of(self.arrivals)


class GrantBroker:
    """Messages come with the name of their partition; a raised ProtocolError ends that connection."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._policy = Assignment().policy
        self._dispatcher = Dispatcher(policy_named(self._policy), _LEAD_NS)
        self._assigned: dict[str, AssignedPartition] = {}
        self._workers: dict[str, _Worker] = {}
        self._seen: set[str] = set()
        #: When each worker that hung was born: it is granted nothing any more, but the next one is.
        self._hung: dict[str, int] = {}
        #: What arrives at workers that are connected, by partition.
        self._meters: dict[str, ArrivalMeter] = {}

    def assign(self, assignment: Assignment, now_ns: int) -> dict[str, Terms | None]:
        """Take a new assignment.

        Returns what to tell connected workers: new terms, or None to those that must connect anew.
        """
        self._assigned = {partition.name: partition for partition in assignment.partitions}
        dropped = self._change_policy(assignment.policy, now_ns)
        self._dispatcher.configure({p.name: p.terms for p in assignment.partitions})
        # A schedule may be deleted and made again while its workers stay connected.
        self._keep_only(self._assigned.keys() | self._workers.keys())
        return {**self._new_terms(), **dict.fromkeys(dropped)}

    def handle(self, name: str, message: Message, now_ns: int) -> Terms | None:
        """Take one message of the worker of partition `name`; the answer to it, if it has one.

        Raises ProtocolError when a worker in its right mind does not say that.
        """
        if isinstance(message, Hello):
            return self._hello(name, message, now_ns)
        worker = self._workers.get(name)
        if worker is None:
            raise ProtocolError(f"{type(message).__name__} before Hello")
        match message:
            case Arrived(count, arrived_ns):
                self._arrived(name, count, arrived_ns, now_ns)
            case Done():
                self._done(name, worker, message, now_ns)
            case Probe():
                self._probe(name, worker, message, now_ns)
            case Measured():
                worker.measured = message
            case Progress():
                worker.progress = message
            case _:
                raise ProtocolError(f"{type(message).__name__} is not for workers to send")
        return None

    def left(self, name: str, now_ns: int) -> None:
        """The worker's connection ended: its queue and its grants are no more."""
        worker = self._workers.pop(name, None)
        if worker is None:
            return
        for ran in self._dispatcher.left(name, now_ns):
            self._ended(worker, ran, now_ns)

    def refuse(self, now_ns: int) -> list[Refused]:
        """Every refusal that is to be sent now, before the grants of `tick`."""
        refusals = self._dispatcher.refuse(now_ns)
        for refused in refusals:
            self._trace.refused(self._workers[refused.partition].tenant, refused.count)
        return refusals

    def tick(self, now_ns: int) -> Iterator[Granted]:
        """Every grant that is to be sent now, each before the next is asked for, after what `refuse` gave."""
        for granted in self._dispatcher.grants(now_ns):
            # One that follows another has its GPU% from that one's end on.
            if not granted.grant.follows:
                self._trace.granted(self._workers[granted.partition].tenant, granted.grant, now_ns)
            yield granted

    def next_wake_ns(self, now_ns: int) -> int | None:
        """When to ask again if no message comes before; None if only a message can change anything."""
        return self._dispatcher.next_wake_ns(now_ns)

    @property
    def waiting(self) -> Wait:
        """Why the last `tick` granted no more than it did, and until when."""
        return self._dispatcher.waiting

    def overdue(self, now_ns: int) -> set[str]:
        """Partitions whose worker would be fenced now."""
        return self._dispatcher.hung(now_ns)

    def fence(self, now_ns: int) -> set[str]:
        """Partitions whose worker has a batch that will never end: hung until the worker is a new one."""
        hung = self._dispatcher.hung(now_ns)
        self._hung.update({name: self._workers[name].born_ns for name in hung})
        return hung

    def model_of(self, name: str) -> tuple[str, str]:
        """The namespace and the name of a partition's model; empty for one that left the schedule."""
        partition = self._assigned.get(name)
        return (partition.namespace, partition.model) if partition else ("", "")

    def born_before(self, ns: int) -> list[str]:
        """Partitions whose worker was born before then."""
        return [name for name, worker in self._workers.items() if worker.born_ns < ns]

    def views(self, now_ns: int) -> tuple[PartitionView, ...]:
        """The partitions of the schedule as they are now."""
        return tuple(self._view(partition, now_ns) for partition in self._assigned.values())

    def _view(self, partition: AssignedPartition, now_ns: int) -> PartitionView:
        worker = self._workers.get(partition.name)
        meter = self._meters.get(partition.name)
        return PartitionView(
            name=partition.name,
            namespace=partition.namespace,
            model=partition.model,
            connected=worker is not None,
            seen=partition.name in self._seen,
            hung=partition.name in self._hung,
            queued_items=self._dispatcher.queued(partition.name),
            measured=worker.measured if worker else None,
            timing=self._dispatcher.timing(partition.name),
            progress=worker.progress if worker else None,
            arrivals=meter.counts(now_ns) if meter else (),
        )

    def _keep_only(self, names: Set[str]) -> None:
        self._seen &= names
        self._hung = {name: born_ns for name, born_ns in self._hung.items() if name in names}
        self._meters = {name: meter for name, meter in self._meters.items() if name in names}
        self._trace.keep_totals_of(names)

    def _new_terms(self) -> dict[str, Terms]:
        """The terms of connected workers that were told others, and are to be told these."""
        changed = {}
        for name, worker in self._workers.items():
            partition = self._assigned.get(name)
            if partition is not None and partition.worker_terms != worker.terms:
                worker.terms = changed[name] = partition.worker_terms
        return changed

    def _change_policy(self, policy: Policy, now_ns: int) -> list[str]:
        """A new policy is a new dispatcher; workers tell it their queues when they connect again."""
        if policy == self._policy:
            return []
        dropped = list(self._workers)
        for name in dropped:
            self.left(name, now_ns)
        self._policy = policy
        self._dispatcher = Dispatcher(policy_named(policy), _LEAD_NS)
        return dropped

    def _hello(self, name: str, hello: Hello, now_ns: int) -> Terms:
        partition = self._assigned.get(name)
        if partition is None:
            raise ProtocolError(f"partition {name} left the schedule")
        if name in self._workers:
            raise ProtocolError("a second Hello")
        if hello.role != partition.terms.role:
            raise ProtocolError(f"role {hello.role}, the schedule says {partition.terms.role}")
        if self._hung.get(name) == hello.born_ns:
            raise ProtocolError("a batch of it hangs; it is to end and be started anew")
        self._hung.pop(name, None)
        self._dispatcher.joined(name, now_ns)
        tenant = Tenant(name, partition.namespace, partition.model)
        terms = partition.worker_terms
        lanes = partition.terms.lanes
        self._workers[name] = _Worker(hello.role, tenant, lanes, hello.born_ns, now_ns, terms)
        self._seen.add(name)
        self._meters.setdefault(name, ArrivalMeter(now_ns))
        return terms

    def _arrived(self, name: str, count: int, arrived_ns: int, now_ns: int) -> None:
        if arrived_ns > now_ns:
            raise ProtocolError("items that arrive in the future")
        if count == 0 or self._dispatcher.queued(name) + count > _MAX_QUEUED_ITEMS:
            raise ProtocolError(f"{count} more items on a queue of {self._dispatcher.queued(name)}")
        self._dispatcher.arrived(name, count, arrived_ns, now_ns)
        # What came before it connected is its queue told again, and no traffic of now.
        if arrived_ns >= self._workers[name].connected_ns:
            self._meters[name].add(count, now_ns)

    def _done(self, name: str, worker: _Worker, done: Done, now_ns: int) -> None:
        if not done.started_ns <= done.ended_ns <= now_ns:
            raise ProtocolError("a batch that ends before it starts, or in the future")
        ran = self._dispatcher.done(name, done.grant_id, done.started_ns, done.ended_ns, now_ns)
        if ran is None:
            raise ProtocolError(
                f"grant {done.grant_id} is not this worker's, was reported done before, or started before it "
                "came or before what it follows had ended"
            )
        self._ended(worker, ran, now_ns)

    def _ended(self, worker: _Worker, ran: Ran, now_ns: int) -> None:
        self._trace.ended(ran.run.grant.grant_id, ran.started_ns, ran.ended_ns, now_ns)
        if ran.followed_by is not None:
            self._trace.granted(worker.tenant, ran.followed_by, ran.ended_ns)

    def _probe(self, name: str, worker: _Worker, probe: Probe, now_ns: int) -> None:
        if worker.role != Role.PROFILE:
            raise ProtocolError("a worker that serves asks for the device for itself")
        if probe.gpu_percent not in worker.lanes or probe.batch == 0:
            raise ProtocolError(f"a probe of {probe.batch} items on a lane of {probe.gpu_percent} GPU%")
        lasts_ns = probe.lasts_us * NS_PER_US
        self._dispatcher.probe(name, probe.gpu_percent, probe.batch, lasts_ns, now_ns)
