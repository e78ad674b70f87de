"""What a device's dispatcher is to do: a GPUSchedule and the claims prepared here, brought together."""

from collections.abc import Iterable
from dataclasses import dataclass

from kneescale.agent.claims import PreparedClaim
from kneescale.api.gpu_schedule import GPUScheduleSpec, Partition, Policy
from kneescale.api.vocabulary import LateRequests, Role
from kneescale.core import wire
from kneescale.core.dispatching.dispatcher import PartitionTerms
from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import NS_PER_MS, WHOLE_GPU_PERCENT

_US_PER_MS = 1_000
_PERMILLE = 1_000
#: Workers alone may be busy for twice their planned share, so that they can work off a queue...
_MOST_ALONE_PERMILLE = 2 * _PERMILLE
#: ...and each for as much as Terms can say.
_LARGEST_SHARE_PERMILLE = 0xFFFF
#: The dispatcher does not see a request's way to the queue and back, on CPUs that do other things too: it may
#: take this much, and where that is more this part of the SLO.
_LEAST_MARGIN_NS = NS_PER_MS
_MARGIN_PART_OF_SLO = 10
_ROLES = {Role.SERVE: wire.Role.SERVE, Role.PROFILE: wire.Role.PROFILE}


@dataclass(frozen=True, slots=True)
class AssignedPartition:
    """One partition of the schedule; `claim_uid` is empty until its claim is prepared here."""

    name: str
    namespace: str
    model: str
    terms: PartitionTerms
    worker_terms: wire.Terms
    claim_uid: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """All partitions of one device, and the policy that shares it among them."""

    policy: Policy = Policy.SPATIO_TEMPORAL
    partitions: tuple[AssignedPartition, ...] = ()


def assign(spec: GPUScheduleSpec, claims: Iterable[PreparedClaim]) -> Assignment:
    """The schedule's partitions, each with its claim.

    A claim belongs to a partition of its own namespace, so nobody gets in by a name alone.
    Raises InvalidInputError when a surface is none.
    """
    uids = {(claim.namespace, claim.partition): claim.uid for claim in claims if claim.device == spec.device}
    alone_permille = _alone_permille(spec.partitions)
    return Assignment(
        policy=spec.policy,
        partitions=tuple(
            AssignedPartition(
                name=partition.name,
                namespace=partition.namespace,
                model=partition.model,
                terms=_dispatcher_terms(partition),
                worker_terms=_worker_terms(partition, alone_permille),
                claim_uid=uids.get((partition.namespace, partition.name), ""),
            )
            for partition in spec.partitions
        ),
    )


def margin_ns(slo_ns: int) -> int:
    """How much before its deadline a run should end."""
    return max(_LEAST_MARGIN_NS, slo_ns // _MARGIN_PART_OF_SLO)


def _dispatcher_terms(partition: Partition) -> PartitionTerms:
    points = [
        Point(point.gpu_percent, point.batch, point.latency_microseconds / _US_PER_MS)
        for point in partition.surface
    ]
    slo_ns = partition.slo_milliseconds * NS_PER_MS
    return PartitionTerms(
        role=_ROLES[partition.role],
        slo_ns=slo_ns,
        weight=partition.weight,
        gpu_percent=partition.gpu_percent,
        batch=partition.batch,
        lanes=partition.lanes,
        surface=LatencySurface.from_points(points) if points else None,
        margin_ns=margin_ns(slo_ns),
        is_pool=partition.pool,
        refuses_late=partition.late_requests is LateRequests.REFUSE,
    )


def _alone_permille(partitions: Iterable[Partition]) -> int:
    """What workers may take alone, of their planned shares: these at least, more where the GPU has it."""
    planned_permille = sum(partition.area_permille for partition in partitions)
    has_permille = _PERMILLE * _PERMILLE // max(1, planned_permille)
    return min(_MOST_ALONE_PERMILLE, max(_PERMILLE, has_permille))


def _worker_terms(partition: Partition, alone_permille: int) -> wire.Terms:
    lane = partition.gpu_percent
    busy_permille = partition.area_permille * WHOLE_GPU_PERCENT // lane
    lanes = partition.lanes.count(lane) if partition.pool else WHOLE_GPU_PERCENT // lane
    most_permille = min(_LARGEST_SHARE_PERMILLE, lanes * _PERMILLE)
    return wire.Terms(
        slo_ns=partition.slo_milliseconds * NS_PER_MS,
        batch=partition.batch,
        gpu_percent=lane,
        share_permille=min(most_permille, max(1, busy_permille * alone_permille // _PERMILLE)),
    )
