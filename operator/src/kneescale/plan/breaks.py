"""The shortest break: what is done where a GPU has no room for a new worker beside the old one.

First the plan looks for another GPU that has room. Only where there is none, the old worker finishes its
queue and goes, and then the new one starts: one at a time on each GPU, one at a time of each model, and none
while anything on the GPU is going by itself (docs/adr/0024). What should have gone long ago is not going:
on a node that is lost pods end for ever.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from kneescale.api.conditions import parse_time
from kneescale.api.footprint import least_footprint
from kneescale.api.meta import Metadata
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import Role
from kneescale.plan.partitions import Partitions
from kneescale.plan.placing import Detour, Target
from kneescale.plan.rooms import Rooms
from kneescale.plan.state import Observed
from kneescale.plan.workloads import MODEL_LOAD_FAILED, Claim, ModelKey, Pod

#: A claim waits for the pod that has it, and a pod is gone seconds after its time to end is over.
_LATE_TO_GO = timedelta(minutes=2)


def find_stuck(partitions: Mapping[ModelKey, Partitions], observed: Observed) -> tuple[Target, ...]:
    """The targets that wait for room which nothing will make by itself, on their GPU or for their model."""
    going = tuple(_going(partitions.values(), observed))
    uuids, models = {each.device_uuid for each in going}, {each.model for each in going}
    return tuple(
        target
        for key, each in partitions.items()
        for target in each.waiting
        if key not in models and target.device.uuid not in uuids
    )


def find_detours(
    stuck: Iterable[Target], devices: Sequence[GpuDevice], rooms: Rooms
) -> Mapping[ModelKey, Detour]:
    """For each model that is stuck: off those GPUs, if one can be found that has room now."""
    leaves: dict[ModelKey, set[str]] = {}
    needs: dict[ModelKey, int] = {}
    for target in stuck:
        key = target.model.metadata.key
        leaves.setdefault(key, set()).add(target.device.uuid)
        needs[key] = target.model.spec.gpu.memory_bytes
    return {
        key: Detour(
            leaves=frozenset(uuids),
            closed=frozenset(
                device.uuid
                for device in devices
                if not rooms.has(device.uuid, needs[key], least_footprint(device).clients)
            ),
        )
        for key, uuids in leaves.items()
    }


def with_breaks(
    partitions: Mapping[ModelKey, Partitions],
    stuck: Sequence[Target],
    observed: Observed,
    rooms: Rooms,
    worker_image: str,
) -> Mapping[ModelKey, Partitions]:
    """The same, with an old worker released on each GPU where nothing else helps a stuck target.

    While no worker of that image serves anywhere, it may never: one in the whole cluster then.
    """
    if not _serves_somewhere(worker_image, partitions):
        return partitions if _is_tried(partitions, stuck) else _broken(partitions, stuck, observed, rooms, 1)
    return _broken(partitions, stuck, observed, rooms, len(stuck))


def _serves_somewhere(worker_image: str, partitions: Mapping[ModelKey, Partitions]) -> bool:
    return any(
        pod.image == worker_image and pod.metadata.name in each.serving
        for each in partitions.values()
        for pod in each.pods
    )


def _is_tried(partitions: Mapping[ModelKey, Partitions], stuck: Sequence[Target]) -> bool:
    """Whether a model that lacks a worker has room for a new one, or it is being made.

    One that does not load its model says nothing against the image.
    """
    return any(
        target.name not in each.serving | _not_loading(each) and target not in stuck
        for each in partitions.values()
        if each.is_short
        for target in each.wanted
    )


def _not_loading(partitions: Partitions) -> frozenset[str]:
    problems = {pod.metadata.name: pod.problem for pod in partitions.pods if pod.problem}
    return frozenset(name for name, problem in problems.items() if problem.reason == MODEL_LOAD_FAILED)


def _broken(
    partitions: Mapping[ModelKey, Partitions],
    stuck: Iterable[Target],
    observed: Observed,
    rooms: Rooms,
    most: int,
) -> Mapping[ModelKey, Partitions]:
    result = dict(partitions)
    used = {target.device.uuid for each in partitions.values() if each.is_short for target in each.starting}
    helped: set[ModelKey] = set()
    for target in stuck:
        pod = next(_breakable(target, result, observed, rooms), None)
        involved = {target.model.metadata.key, pod.model} if pod else set()
        if pod and most and target.device.uuid not in used and helped.isdisjoint(involved):
            each = result[pod.model]
            result[pod.model] = replace(each, broken=pod, released_pods=(*each.released_pods, pod))
            used.add(target.device.uuid)
            helped |= involved
            most -= 1
    return result


def _going(partitions: Iterable[Partitions], observed: Observed) -> Iterator[Pod | Claim]:
    """What is about to make room: it ends, or will when another serves."""
    yield from (pod for pod in observed.pods if _is_ending(pod.metadata, observed))
    yield from (
        claim
        for claim in observed.claims
        if claim.role is Role.PROFILE or _is_ending(claim.metadata, observed)
    )
    for each in partitions:
        yield from each.released_pods
        yield from each.released_claims
        if each.starting:
            yield from each.spare


def _is_ending(metadata: Metadata, observed: Observed) -> bool:
    return metadata.deleting and observed.now < parse_time(metadata.gone_at) + _LATE_TO_GO


def _breakable(
    target: Target, partitions: Mapping[ModelKey, Partitions], observed: Observed, rooms: Rooms
) -> Iterator[Pod]:
    """Old workers on the target's device whose end makes room for it: its own model's before others'."""
    claims = {(claim.model, claim.metadata.name): claim for claim in observed.claims}
    own_first = sorted(partitions, key=lambda key: key != target.model.metadata.key)
    for key in own_first:
        each = partitions[key]
        for pod in each.spare if each.waiting and _may_break(each) else ():
            claim = claims.get((key, pod.metadata.name))
            is_here = pod.device_uuid == target.device.uuid
            if is_here and rooms.has(
                target.device.uuid, target.memory_bytes, target.footprint.clients, without=claim
            ):
                yield pod


def _may_break(each: Partitions) -> bool:
    """Whether all of a model's workers serve, so that one may be missing for a while."""
    return each.broken is None and not each.is_short
