"""The dispatcher: the state machine that decides which batch runs on which lane of one device, and when.

Events come in with integer nanoseconds, grants go out of `tick`. It does no I/O and reads no clock: the node
agent and the simulator drive the same code. After any event, call `refuse` and `tick`; then again at
`next_wake_ns`.

With a lead it grants a lane on about that long before its run should end, where it would have it run another
batch of the same worker next: that begins without a way to the agent and back (docs/adr/0037).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from kneescale.core.dispatching.arrival_queue import Arrivals
from kneescale.core.dispatching.device import DeviceState, Running
from kneescale.core.dispatching.partition import Partition, PartitionTerms, ProbeRequest
from kneescale.core.dispatching.policy import NOTHING_QUEUED, Policy, Run, Wait
from kneescale.core.dispatching.probing import look_again_ns, next_probe
from kneescale.core.dispatching.punctuality import hung_after_ns
from kneescale.core.dispatching.scoreboard import Scoreboard
from kneescale.core.units import NS_PER_S
from kneescale.core.wire import Grant

__all__ = ["Dispatcher", "Granted", "PartitionTerms", "Ran", "Refused", "Timing"]

#: A probe's length is not known before it ran; its worker may take this long and is still believed.
PROBE_LIMIT_NS: Final = 60 * NS_PER_S

#: What follows a run is decided so many leads before its end at the earliest, and in its last such part: who
#: comes later may wait for one run more.
MOST_LEADS: Final = 4
LEAD_DIVISOR: Final = 4
_REFUSED_FIRST: Final = Wait("items are refused first")


class Granted:
    """A grant to send to the worker of `partition`."""

    def __init__(self, partition: str, grant: Grant) -> None:
        self.partition: Final = partition
        self.grant: Final = grant


class Ran:
    """A run that is over: it held its GPU% since it was granted, its batch ran from `started_ns`."""

    def __init__(self, run: Running, started_ns: int, ended_ns: int, followed_by: Grant | None) -> None:
        self.run: Final = run
        self.started_ns: Final = started_ns
        self.ended_ns: Final = ended_ns
        #: What has its GPU% from now on.
        self.followed_by: Final = followed_by


@dataclass(frozen=True, slots=True)
class Timing:
    """How a partition's runs keep to their times.

    `overruns`: how many took much longer than planned. `latency_ratio`: measured over predicted, None while
    there is too little evidence.
    """

    overruns: int
    is_unpunctual: bool
    latency_ratio: float | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The oldest `count` items of the queue of `partition`, which are to be answered with an error now."""

    partition: str
    count: int


class Dispatcher:
    """One device's dispatcher, under one policy; it grants lanes on, about `lead_ns` ahead, if at all."""

    def __init__(self, policy: Policy, lead_ns: int = 0) -> None:
        self._policy = policy
        self._lead_ns = lead_ns
        #: The runs for which it was asked already what follows.
        self._looked_behind: set[int] = set()
        self._device = DeviceState()
        self._configured: frozenset[str] = frozenset()
        self._next_grant_id = 1
        self._waiting = NOTHING_QUEUED

    @property
    def running(self) -> tuple[Running, ...]:
        """The grants in flight; those that are followed before all others."""
        followed = (each.run for each in self._device.followed.values())
        return (*followed, *self._device.running.values())

    @property
    def free_percent(self) -> int:
        """The GPU% that no grant in flight holds."""
        return self._device.free_percent

    @property
    def waiting(self) -> Wait:
        """Why the last `tick` granted no more than it did."""
        return self._waiting

    @property
    def scoreboard(self) -> Scoreboard:
        """GPU area by partition."""
        return self._device.scoreboard

    def queued(self, name: str) -> int:
        """Items that wait in the partition's queue; 0 for a partition that is not known."""
        partition = self._device.partitions.get(name)
        return partition.queue.count if partition else 0

    def timing(self, name: str) -> Timing:
        """How a partition's runs keep to their times; as of none for a partition that is not known."""
        partition = self._device.partitions.get(name) or Partition(name)
        punctuality = partition.punctuality
        return Timing(punctuality.overruns, punctuality.is_unpunctual, partition.drift.ratio)

    def hung(self, now_ns: int) -> set[str]:
        """The partitions that have a run which should have ended long ago."""
        begun = filter(self._has_begun, self.running)
        return {each.partition for each in begun if now_ns > each.hung_after_ns}

    def configure(self, partitions: Mapping[str, PartitionTerms]) -> None:
        """Take a new schedule.

        A partition that it no longer names but whose worker is still connected is served on, on its last
        terms, until the worker leaves: a drain loses no request.
        """
        self._configured = frozenset(partitions)
        for name, terms in partitions.items():
            self._partition(name).set_terms(self._policy.adapt(terms))
        for name in list(self._device.partitions):
            self._forget_if_gone(name)
        # Those that profile have no part in what the scoreboard is for.
        sessions = [
            partition.terms.slo_ns
            for partition in self._device.partitions.values()
            if partition.terms and partition.costs
        ]
        if sessions:
            self._device.scoreboard.set_session(max(sessions))

    def joined(self, name: str, now_ns: int) -> list[Ran]:
        """A worker connected, with an empty queue; whatever an earlier one of this name held is freed."""
        freed = self.left(name, now_ns)
        self._partition(name).connected = True
        return freed

    def left(self, name: str, now_ns: int) -> list[Ran]:
        """The worker is gone, and so are its queue and its runs, which are returned as ended now."""
        partition = self._device.partitions.get(name)
        if partition is None:
            return []
        partition.connected = False
        self._device.probes_waiting -= partition.probe is not None
        partition.clear()
        mine = [running.grant.grant_id for running in self.running if running.partition == name]
        freed = [self._end(grant_id, now_ns, now_ns) for grant_id in mine]
        self._forget_if_gone(name)
        return freed

    def arrived(self, name: str, count: int, arrived_ns: int, heard_ns: int = 0) -> None:
        """`count` items joined the tail of a connected worker's queue at `arrived_ns`.

        `heard_ns` is when that is told, where it may be long after.
        """
        partition = self._device.partitions.get(name)
        if partition is not None and partition.connected and count > 0:
            partition.push(count, arrived_ns, heard_ns)

    def probe(self, name: str, gpu_percent: int, batch: int, lasts_ns: int, now_ns: int) -> None:
        """A connected profiling worker asks for one batch alone on the device, and for no other any more."""
        partition = self._device.partitions.get(name)
        if partition is not None and partition.connected:
            self._device.probes_waiting += partition.probe is None
            partition.probe = ProbeRequest(gpu_percent, batch, lasts_ns, now_ns)

    def done(self, name: str, grant_id: int, started_ns: int, ended_ns: int, now_ns: int) -> Ran | None:
        """The batch of a grant ended and its lane is free.

        None where that grant is not in flight, or was given only after the batch started.
        """
        running = self._in_flight(grant_id)
        if running is None or running.partition != name or started_ns < running.granted_ns:
            return None
        if not self._has_begun(running):
            return None
        ran = self._end(grant_id, started_ns, ended_ns)
        if not running.is_probe:
            partition = self._device.partitions[name]
            partition.ran(running.grant, running.granted_ns, started_ns, ended_ns)
            partition.answered(running.arrivals, running.grant.finish_by_ns, ended_ns)
            late_ns = ended_ns - running.grant.finish_by_ns
            self._device.scoreboard.charge(name, running.grant.gpu_percent, late_ns, now_ns)
        return ran

    def refuse(self, now_ns: int) -> list[Refused]:
        """Give up what cannot be in time, of the partitions that refuse it; call it before `tick`."""
        scoreboard = self._device.scoreboard
        refused = []
        for partition, count in list(self._policy.refusals(self._device, now_ns)):
            area_per_item = partition.ready_costs.options[-1][0].area_per_item
            scoreboard.refuse(count * area_per_item, now_ns)
            partition.pop(count)
            partition.budget.missed(count)
            refused.append(Refused(partition.name, count))
        return refused

    def tick(self, now_ns: int) -> list[Granted]:
        """Every grant that is to be made now."""
        return list(self.grants(now_ns))

    def grants(self, now_ns: int) -> Iterator[Granted]:
        """The same one by one: each can be on its way while the next one is decided."""
        while True:
            decision = next_probe(self._device, now_ns) or self._policy.next_run(self._device, now_ns)
            if isinstance(decision, Wait):
                self._waiting = decision
                break
            yield self._grant(decision, now_ns)
        yield from self._grants_ahead(now_ns)

    def next_wake_ns(self, now_ns: int) -> int | None:
        """When to `tick` next if no event comes before; None if only an event can change anything.

        Later than the last `tick`, but not than now where that was a while ago.
        """
        wake_ns = _earlier(self._waiting.until_ns, look_again_ns(self._device, now_ns))
        return _earlier(wake_ns, self._look_behind_ns(now_ns))

    def _grant(self, run: Run, now_ns: int) -> Granted:
        running = self._running(run, now_ns)
        self._device.start(running)
        self._device.partitions[run.partition].held_lanes[run.gpu_percent] += 1
        return Granted(run.partition, running.grant)

    def _running(self, run: Run, start_ns: int, follows: int = 0) -> Running:
        """A run as its grant says it, with its items off the queue."""
        arrivals, lasts_ns = self._take(run, start_ns)
        end_ns = start_ns + lasts_ns
        grant = Grant(self._next_grant_id, run.gpu_percent, run.batch, end_ns, follows)
        self._next_grant_id += 1
        # A probe's end is a limit already, and no plan.
        hung_ns = end_ns if run.is_probe else hung_after_ns(start_ns, end_ns)
        return Running(
            run.partition,
            grant,
            start_ns,
            is_probe=run.is_probe,
            hung_after_ns=hung_ns,
            arrivals=arrivals,
        )

    def _take(self, run: Run, start_ns: int) -> tuple[Arrivals, int]:
        """Take off the queue what a run is for: when that came, and how long the run takes."""
        partition = self._device.partitions[run.partition]
        if run.is_probe:
            partition.probe = None
            self._device.probes_waiting -= 1
            return [], PROBE_LIMIT_NS
        arrivals = partition.pop(run.batch)
        partition.budget.granted(run.batch)
        lasts_ns = partition.ready_costs.latency_ns(run.gpu_percent, run.batch)
        self._device.scoreboard.charge(run.partition, run.gpu_percent, lasts_ns, start_ns)
        return arrivals, lasts_ns

    def _grants_ahead(self, now_ns: int) -> Iterator[Granted]:
        for running, ahead_ns in tuple(self._to_look_behind(now_ns)):
            # Its worker may have left since: who cannot be sent one grant leaves before the next is decided.
            is_there = running.grant.grant_id in self._device.running
            if is_there and running.grant.finish_by_ns - ahead_ns <= now_ns:
                self._looked_behind.add(running.grant.grant_id)
                if following := self._follow(running):
                    yield following

    def _look_behind_ns(self, now_ns: int) -> int | None:
        """When to look at the latest what may follow a run; most looks are had when it is ticked anyway."""
        if not self._lead_ns:
            return None
        return min(
            [
                running.grant.finish_by_ns - min(self._lead_ns, ahead_ns // 2)
                for running, ahead_ns in self._to_look_behind(now_ns)
            ],
            default=None,
        )

    def _to_look_behind(self, now_ns: int) -> Iterator[tuple[Running, int]]:
        """The runs behind which more may be granted, in the order of their ends; from how long before on.

        Not behind those that should have ended: nobody knows when they do.
        """
        device = self._device
        if not self._lead_ns or device.probes_waiting or device.probes_running:
            return
        for end_ns, grant_id, _ in device.ends:
            if end_ns <= now_ns or grant_id in self._looked_behind:
                continue
            running = device.running[grant_id]
            if self._has_begun(running) and device.partitions[running.partition].items:
                yield running, min(MOST_LEADS * self._lead_ns, (end_ns - running.granted_ns) // LEAD_DIVISOR)

    def _follow(self, running: Running) -> Granted | None:
        """What its worker is to run on the lane of a run next, if the policy has it run there."""
        name, lane, end_ns = running.partition, running.grant.gpu_percent, running.grant.finish_by_ns
        run = self._run_once_over(running, end_ns)
        if isinstance(run, Wait) or (run.partition, run.gpu_percent) != (name, lane):
            return None
        following = self._running(run, end_ns, running.grant.grant_id)
        self._device.hand_on(following)
        return Granted(name, following.grant)

    def _run_once_over(self, running: Running, end_ns: int) -> Run | Wait:
        """What the policy wants with the lane of a run, which it is asked as if that had ended.

        Nothing where items of that worker are to be refused then: what is taken now would take them along.
        """
        held_lanes, lane = self._device.partitions[running.partition].held_lanes, running.grant.gpu_percent
        self._device.stop(running.grant.grant_id)
        held_lanes[lane] -= 1
        try:
            refusals = self._policy.refusals(self._device, end_ns)
            if any(partition.name == running.partition for partition, _ in refusals):
                return _REFUSED_FIRST
            return self._policy.next_run(self._device, end_ns)
        finally:
            self._device.start(running)
            held_lanes[lane] += 1
            for partition in self._device.partitions.values():
                partition.plan_anew()

    def _has_begun(self, running: Running) -> bool:
        """Whether a run in flight waits for no other one to end."""
        return running.grant.follows not in self._device.followed

    def _in_flight(self, grant_id: int) -> Running | None:
        followed = self._device.followed.get(grant_id)
        return followed.run if followed else self._device.running.get(grant_id)

    def _end(self, grant_id: int, started_ns: int, ended_ns: int) -> Ran:
        self._looked_behind.discard(grant_id)
        followed, followed_by = self._device.followed.pop(grant_id, None), None
        if followed is None:
            running = self._device.stop(grant_id)
            self._device.partitions[running.partition].held_lanes[running.grant.gpu_percent] -= 1
        else:
            running = followed.run
            followed_by = self._device.begin(followed, ended_ns)
        return Ran(running, started_ns, ended_ns, followed_by)

    def _partition(self, name: str) -> Partition:
        return self._device.partitions.setdefault(name, Partition(name))

    def _forget_if_gone(self, name: str) -> None:
        partition = self._device.partitions[name]
        if name not in self._configured and not partition.connected:
            del self._device.partitions[name]
            self._device.scoreboard.forget(name)


def _earlier(first_ns: int | None, second_ns: int | None) -> int | None:
    """Of two times the earlier one; None is never."""
    if first_ns is None or second_ns is None:
        return second_ns if first_ns is None else first_ns
    return min(first_ns, second_ns)
