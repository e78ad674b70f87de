"""Make before break: which partitions start, stay and go.

A worker's lanes, batch bound, memory and image are fixed when it starts. Where the plan wants another one,
the new partition comes up first; for each new one that serves, an old one may go. An old one drains by
itself (its pod's grace period) and stays in the GPUSchedule until its pod is gone. Where there is no room for
both at once, see `breaks`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from kneescale.api.gpu_schedule import GPUSchedule, PartitionState
from kneescale.api.vocabulary import Role
from kneescale.plan.placing import Placing, Target
from kneescale.plan.rooms import Rooms
from kneescale.plan.state import Observed
from kneescale.plan.workloads import Claim, ModelKey, Pod

#: Agents report every two seconds: what is heard sooner after a pod got ready may be its predecessor's.
_REPORT_LAG = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Partitions:
    """One model's partitions.

    `started` have, or get now, their claim and pod; `waiting` have no room yet beside what still runs.
    """

    started: tuple[Target, ...] = ()
    waiting: tuple[Target, ...] = ()
    #: The pods that are there, draining ones included.
    pods: tuple[Pod, ...] = ()
    #: Those that answer requests, and among them those that the agent grants batches to.
    ready: frozenset[str] = frozenset()
    serving: frozenset[str] = frozenset()
    #: Pods that have a batch which does not end, although they look well.
    hung: frozenset[str] = frozenset()
    #: Pods that end now: no longer wanted, or lost, hung or held back and to be made anew.
    released_pods: tuple[Pod, ...] = ()
    released_claims: tuple[Claim, ...] = ()
    #: One of `released_pods` that ends before another serves in its place.
    broken: Pod | None = None

    @property
    def wanted(self) -> tuple[Target, ...]:
        """All partitions that the plan wants."""
        return self.started + self.waiting

    @property
    def starting(self) -> tuple[Target, ...]:
        """Partitions that have their claim, and do not serve yet."""
        return tuple(target for target in self.started if target.name not in self.serving)

    @property
    def unwanted(self) -> tuple[Pod, ...]:
        """Pods that end as soon as others serve in their place, or at once."""
        wanted = {target.name for target in self.wanted}
        return tuple(
            pod
            for pod in self.pods
            if wanted and pod.metadata.name not in wanted and not pod.metadata.deleting
        )

    @property
    def spare(self) -> tuple[Pod, ...]:
        """Pods that serve until others do in their place."""
        released = {pod.metadata.name for pod in self.released_pods}
        return tuple(pod for pod in self.unwanted if pod.metadata.name not in released)

    @property
    def staying(self) -> frozenset[str]:
        """Those that answer, and are not to end now."""
        return self.ready - {pod.metadata.name for pod in self.released_pods}

    @property
    def is_short(self) -> bool:
        """Whether fewer serve than should."""
        return len(self.serving) < len(self.wanted)


@dataclass(frozen=True, slots=True)
class Told:
    """What agents tell of the pods on their GPUs, by name."""

    serving: frozenset[str]
    hung: frozenset[str]


def plan_all_partitions(
    placings: Mapping[ModelKey, Placing],
    keys: Iterable[ModelKey],
    asleep: Collection[ModelKey],
    observed: Observed,
    rooms: Rooms,
) -> Mapping[ModelKey, Partitions]:
    """Every model's partitions; models of which fewer serve than should are the first to take room."""
    targets = {key: placings.get(key, Placing()).targets for key in keys}
    told = Told(_serving(observed), frozenset(_hung(observed)))
    serving = Counter(pod.model for pod in observed.pods if pod.metadata.name in told.serving)
    by_need = sorted(targets, key=lambda key: serving[key] >= len(targets[key]))
    found = {
        key: plan_partitions(key, targets[key], observed, told, rooms, is_asleep=key in asleep)
        for key in by_need
    }
    return {key: found[key] for key in targets}


def plan_partitions(
    key: ModelKey, targets: Sequence[Target], observed: Observed, told: Told, rooms: Rooms, *, is_asleep: bool
) -> Partitions:
    """Take one model's partitions a step closer to `targets`.

    Without any, what runs is left as it is; but all workers of a model that is asleep go.
    """
    pods = tuple(pod for pod in observed.pods if pod.model == key)
    claims = tuple(claim for claim in observed.claims if claim.model == key and claim.role is Role.SERVE)
    held = {claim.metadata.name for claim in claims if not claim.metadata.deleting}
    started = tuple(
        target
        for target in targets
        if target.name in held
        or rooms.try_take(target.device.uuid, target.memory_bytes, target.footprint.clients)
    )
    waiting = tuple(target for target in targets if target not in started)
    ready = frozenset(pod.metadata.name for pod in pods if pod.ready and not pod.metadata.deleting)
    wanted = {target.name for target in targets}
    serving = ready & told.serving
    hung = told.hung & {pod.metadata.name for pod in pods}
    useless = hung | {pod.metadata.name for pod in pods if pod.lost or pod.is_held_back}
    if is_asleep:
        released = tuple(pod for pod in pods if not pod.metadata.deleting)
    else:
        released = tuple(_released(pods, wanted, serving, useless, waiting))
    return Partitions(
        started=started,
        waiting=waiting,
        pods=pods,
        ready=ready - hung,
        serving=serving,
        hung=hung,
        released_pods=released,
        released_claims=tuple(
            claim
            for claim in claims
            if claim.metadata.name not in wanted | {pod.metadata.name for pod in pods}
            and not claim.metadata.deleting
        ),
    )


def _serving(observed: Observed) -> frozenset[str]:
    """The pods that answer requests and are connected to their agent."""
    return frozenset(pod.metadata.name for pod, _ in _reported(observed, PartitionState.SERVING))


def _hung(observed: Observed) -> Iterator[str]:
    """Of a worker that was restarted since in its pod, its predecessor's report says nothing."""
    for pod, schedule in _reported(observed, PartitionState.HUNG):
        ready_for, silent_for = observed.age_of(pod.metadata), observed.age_of(schedule.metadata)
        if pod.ready_since is None or ready_for >= silent_for + _REPORT_LAG:
            yield pod.metadata.name


def _reported(observed: Observed, state: PartitionState) -> Iterator[tuple[Pod, GPUSchedule]]:
    """The pods that look well, and of which the agent of their own GPU says that, with its words."""
    said = {
        (schedule.spec.uuid, partition.key): schedule
        for schedule in observed.schedules
        for partition, status in schedule.reports
        if status.state is state
    }
    for pod in observed.pods:
        schedule = said.get((pod.device_uuid, pod.metadata.key))
        if schedule and pod.ready and not pod.metadata.deleting:
            yield pod, schedule


def _released(
    pods: Iterable[Pod],
    wanted: set[str],
    serving: frozenset[str],
    useless: frozenset[str],
    waiting: Iterable[Target],
) -> Iterator[Pod]:
    ending = [pod for pod in pods if not pod.metadata.deleting]
    yield from (pod for pod in ending if pod.metadata.name in useless)
    if not wanted:
        return
    spare = [pod for pod in ending if pod.metadata.name not in useless | wanted]
    yield from (pod for pod in spare if not pod.ready)
    still_needed = len(wanted - serving)
    short_of_room = {target.device.uuid for target in waiting}
    # Where any may go, those go that make room for a new one.
    ready = sorted((pod for pod in spare if pod.ready), key=lambda pod: pod.device_uuid in short_of_room)
    yield from ready[still_needed:]
