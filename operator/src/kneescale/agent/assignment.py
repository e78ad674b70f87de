"""What a device's dispatcher is to do: a GPUSchedule and the claims prepared here, brought together."""

from collections.abc import Iterable
from dataclasses import dataclass

from kneescale.agent.alone import terms_alone
from kneescale.agent.claims import PreparedClaim
from kneescale.api.gpu_schedule import GPUScheduleSpec, Partition, Policy
from kneescale.api.surface import surface_of
from kneescale.api.vocabulary import LateRequests, Role
from kneescale.core import wire
from kneescale.core.dispatching.dispatcher import PartitionTerms
from kneescale.core.units import NS_PER_MS

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
    planned_permille = sum(partition.area_permille for partition in spec.partitions)
    return Assignment(
        policy=spec.policy,
        partitions=tuple(
            _assigned(partition, planned_permille, uids.get((partition.namespace, partition.name), ""))
            for partition in spec.partitions
        ),
    )


def margin_ns(slo_ns: int) -> int:
    """How much before its deadline a run should end."""
    return max(_LEAST_MARGIN_NS, slo_ns // _MARGIN_PART_OF_SLO)


def _assigned(partition: Partition, planned_permille: int, claim_uid: str) -> AssignedPartition:
    terms = _dispatcher_terms(partition)
    return AssignedPartition(
        name=partition.name,
        namespace=partition.namespace,
        model=partition.model,
        terms=terms,
        worker_terms=terms_alone(terms, partition.area_permille, planned_permille),
        claim_uid=claim_uid,
    )


def _dispatcher_terms(partition: Partition) -> PartitionTerms:
    slo_ns = partition.slo_milliseconds * NS_PER_MS
    return PartitionTerms(
        role=_ROLES[partition.role],
        slo_ns=slo_ns,
        weight=partition.weight,
        gpu_percent=partition.gpu_percent,
        batch=partition.batch,
        lanes=partition.lanes,
        surface=surface_of(partition.surface) if partition.surface else None,
        margin_ns=margin_ns(slo_ns),
        is_pool=partition.pool,
        refuses_late=partition.late_requests is LateRequests.REFUSE,
    )
