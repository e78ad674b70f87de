"""Make before break: which partitions start, stay and go.

A worker's lanes, batch bound, memory and image are fixed when it starts. Where the plan wants another one,
the new partition comes up first; for each new one that serves, an old one may go. An old one drains by
itself (its pod's grace period) and stays in the GPUSchedule until its pod is gone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kneescale.api.gpu_schedule import PartitionState
from kneescale.api.vocabulary import Role
from kneescale.plan.placing import Target
from kneescale.plan.rooms import Rooms
from kneescale.plan.state import Observed
from kneescale.plan.workloads import Claim, ModelKey, Pod


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
    #: Pods that end now: no longer wanted, or lost and to be made anew.
    released_pods: tuple[Pod, ...] = ()
    released_claims: tuple[Claim, ...] = ()

    @property
    def wanted(self) -> tuple[Target, ...]:
        """All partitions that the plan wants."""
        return self.started + self.waiting

    @property
    def swapping(self) -> tuple[Target, ...]:
        """Partitions that come up while others still serve in their place."""
        names = {target.name for target in self.wanted}
        if not self.serving - names:
            return ()
        return tuple(target for target in self.wanted if target.name not in self.serving)


def plan_partitions(key: ModelKey, targets: Sequence[Target], observed: Observed, rooms: Rooms) -> Partitions:
    """Take one model's partitions a step closer to `targets`; without any, what runs is left as it is."""
    pods = tuple(pod for pod in observed.pods if pod.model == key)
    claims = tuple(claim for claim in observed.claims if claim.model == key and claim.role is Role.SERVE)
    held = {claim.metadata.name for claim in claims if not claim.metadata.deleting}
    started = tuple(
        target
        for target in targets
        if target.name in held or rooms.try_take(target.device.uuid, target.model.spec.gpu.memory_bytes)
    )
    wanted = {target.name for target in targets}
    ready = frozenset(pod.metadata.name for pod in pods if pod.ready and not pod.metadata.deleting)
    serving = ready & _heard(observed)
    return Partitions(
        started=started,
        waiting=tuple(target for target in targets if target not in started),
        pods=pods,
        ready=ready,
        serving=serving,
        released_pods=tuple(_released(pods, wanted, serving)),
        released_claims=tuple(
            claim
            for claim in claims
            if claim.metadata.name not in wanted | {pod.metadata.name for pod in pods}
            and not claim.metadata.deleting
        ),
    )


def _heard(observed: Observed) -> frozenset[str]:
    """The partitions whose worker is connected to its agent."""
    return frozenset(
        partition.name
        for schedule in observed.schedules
        for partition in schedule.status.partitions
        if partition.state is PartitionState.SERVING
    )


def _released(pods: Iterable[Pod], wanted: set[str], serving: frozenset[str]) -> Iterable[Pod]:
    ending = [pod for pod in pods if not pod.metadata.deleting]
    yield from (pod for pod in ending if pod.lost)
    if not wanted:
        return
    spare = [pod for pod in ending if not pod.lost and pod.metadata.name not in wanted]
    still_needed = len(wanted - serving)
    ready = [pod for pod in spare if pod.ready]
    yield from (pod for pod in spare if not pod.ready)
    yield from ready[still_needed:]
