"""What this node was told to do: prepared claims and GPUSchedules, kept on disk for the next agent.

A claim is on disk before it takes effect: the kubelet asks again until it is. A schedule takes effect even
where it cannot be saved: the API server has it, and models are not to wait for a disk (ADR 25).
"""

import logging
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

from kneescale.agent import checkpoint
from kneescale.agent.assignment import Assignment, assign
from kneescale.agent.backend import Device
from kneescale.agent.checkpoint import Checkpoint
from kneescale.agent.claims import PreparedClaim, check_lanes
from kneescale.api.conditions import Condition
from kneescale.api.gpu_schedule import GPUSchedule, GPUScheduleSpec, Partition, parse_gpu_schedule
from kneescale.core.errors import InvalidInputError

log = logging.getLogger(__name__)

Manifest = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KnownSchedule:
    """A GPUSchedule of this node: what is applied of it, and what is wrong with it.

    `applied` is the last good spec, None where there never was one; `error` is empty when it is the latest.
    `manifest` is what `applied` came from, as the checkpoint keeps it; empty where there never was one.
    """

    name: str
    generation: int
    applied: GPUScheduleSpec | None
    manifest: Manifest
    error: str = ""
    conditions: tuple[Condition, ...] = ()


class Assignable(Protocol):
    """What is told what a device is to do: its dispatcher host."""

    def assign(self, assignment: Assignment) -> None:
        """Take a new assignment."""


class NodeState:
    """Claims and schedules of a node, told to the hosts of its devices whenever they change."""

    def __init__(
        self,
        hosts: Mapping[str, Assignable],
        checkpoint_path: Path,
        devices: Callable[[], Iterable[Device]],
    ) -> None:
        self._hosts = hosts
        self._devices = devices
        self._checkpoint_path = checkpoint_path
        self._lock = Lock()
        self._claims: dict[str, PreparedClaim] = {}
        self._schedules: dict[str, KnownSchedule] = {}
        #: The GPUSchedules as last given, those among them that could not be applied.
        self._manifests: tuple[Manifest, ...] = ()
        self._unsaved = ""

    def restore(self) -> None:
        """Go on from the checkpoint, once `devices_changed` says which of its schedules can be applied.

        Raises InvalidInputError when it is no checkpoint.
        """
        saved = checkpoint.load(self._checkpoint_path)
        with self._lock:
            self._claims = {claim.uid: claim for claim in saved.claims}
            self._manifests = saved.schedules

    def claim(self, uid: str) -> PreparedClaim | None:
        """The prepared claim of that uid."""
        return self._claims.get(uid)

    def claims(self) -> tuple[PreparedClaim, ...]:
        """All prepared claims."""
        with self._lock:
            return tuple(self._claims.values())

    def schedules(self) -> tuple[KnownSchedule, ...]:
        """The GPUSchedules of this node."""
        with self._lock:
            return tuple(self._schedules.values())

    @property
    def unsaved(self) -> str:
        """Why the schedules are not on disk as they are applied; empty while they are."""
        return self._unsaved

    def add_claim(self, claim: PreparedClaim) -> None:
        """A claim is prepared; the same again changes nothing.

        Raises OSError when it cannot be saved, and then it is not prepared.
        """
        with self._lock:
            self._take_claims({**self._claims, claim.uid: claim})

    def remove_claim(self, uid: str) -> None:
        """A claim is no more, if it ever was.

        Raises OSError when that cannot be saved, and then it still is.
        """
        with self._lock:
            if uid in self._claims:
                self._take_claims({key: claim for key, claim in self._claims.items() if key != uid})

    def set_schedules(self, manifests: Iterable[Manifest]) -> None:
        """Take the node's GPUSchedules, all of them: one that is not among them is gone."""
        with self._lock:
            before = self._schedules
            self._manifests = tuple(manifests)
            self._schedules = self._read()
            if _applied(self._schedules) != _applied(before):
                self._assign()
                self._try_save()

    def save_again(self) -> None:
        """Save the schedules that could not be saved, if there are any."""
        with self._lock:
            if self._unsaved:
                self._try_save()

    def devices_changed(self) -> None:
        """There are other hosts now: schedules that could not be applied may be, and the other way round."""
        with self._lock:
            self._schedules = self._read()
            self._assign()

    def _take_claims(self, claims: dict[str, PreparedClaim]) -> None:
        self._save(claims)
        self._claims = claims
        self._assign()

    def _read(self) -> dict[str, KnownSchedule]:
        schedules: dict[str, KnownSchedule] = {}
        manifests = {str(manifest["metadata"]["name"]): manifest for manifest in self._manifests}
        taken = self._holders(manifests)
        for name, manifest in sorted(manifests.items()):
            try:
                schedule = parse_gpu_schedule(manifest)
                self._check(schedule, taken)
            except InvalidInputError as error:
                schedules[name] = self._kept(manifest, str(error))
                continue
            taken[schedule.spec.device] = name
            schedules[name] = KnownSchedule(
                name,
                schedule.metadata.generation,
                schedule.spec,
                _without_status(manifest),
                conditions=schedule.status.conditions,
            )
        return schedules

    def _holders(self, names: Container[str]) -> dict[str, str]:
        """Which schedule each device has: what is applied keeps its device, also where it turned bad."""
        return {
            known.applied.device: known.name
            for known in self._schedules.values()
            if known.applied and known.name in names
        }

    def _check(self, schedule: GPUSchedule, taken: Mapping[str, str]) -> None:
        """Raises InvalidInputError where the schedule cannot be applied here."""
        spec = schedule.spec
        if spec.device not in self._hosts:
            there_are = ", ".join(self._hosts) or "none"
            raise InvalidInputError(f"node {spec.node_name} has no device {spec.device}; it has {there_are}")
        holder = taken.get(spec.device, schedule.metadata.name)
        if holder != schedule.metadata.name:
            raise InvalidInputError(f"device {spec.device} has a GPUSchedule already: {holder}")
        for partition in spec.partitions:
            self._check_lanes(partition, spec.device)
        if twice := _first_repeated(partition.name for partition in spec.partitions):
            raise InvalidInputError(f"partition {twice} is there twice; a claim has one partition")
        # Its surfaces are read when it is assigned, which must not fail then.
        assign(spec, ())

    def _check_lanes(self, partition: Partition, device_name: str) -> None:
        """A worker has the lanes that its claim had when it started, and no others; a device has its own."""
        for claim in self._claims.values():
            if (claim.namespace, claim.partition) == (partition.namespace, partition.name):
                for lane in set(partition.lanes) - set(claim.lanes):
                    raise InvalidInputError(
                        f"partition {partition.name} has a lane of {lane} GPU%; its claim has "
                        f"{', '.join(map(str, sorted(set(claim.lanes))))}"
                    )
        for device in self._devices():
            if device.name == device_name:
                check_lanes(partition.name, partition.lanes, device)

    def _kept(self, manifest: Manifest, error: str) -> KnownSchedule:
        """A bad schedule: what was applied before stays."""
        metadata = manifest["metadata"]
        before = self._schedules.get(metadata["name"])
        if before is None or before.error != error:
            log.warning("GPUSchedule %s is not applied: %s", metadata["name"], error)
        generation = metadata.get("generation", 0)
        if before is None:
            return KnownSchedule(metadata["name"], generation, None, {}, error)
        return KnownSchedule(
            before.name, generation, before.applied, before.manifest, error, before.conditions
        )

    def _save(self, claims: Mapping[str, PreparedClaim]) -> None:
        manifests = tuple(map(self._last_good, self._manifests))
        checkpoint.save(self._checkpoint_path, Checkpoint(tuple(claims.values()), manifests))
        self._unsaved = ""

    def _last_good(self, manifest: Manifest) -> Manifest:
        """What is applied of that schedule; itself where nothing ever was: its device may be on its way."""
        known = self._schedules.get(manifest["metadata"]["name"])
        return known.manifest if known and known.applied else _without_status(manifest)

    def _try_save(self) -> None:
        try:
            self._save(self._claims)
        except OSError as error:
            if not self._unsaved:
                log.warning("GPUSchedules are applied but not saved: %s", error)
            self._unsaved = error.strerror or str(error)

    def _assign(self) -> None:
        by_device = {
            schedule.applied.device: schedule.applied
            for schedule in self._schedules.values()
            if schedule.applied
        }
        for device, host in self._hosts.items():
            spec = by_device.get(device)
            host.assign(assign(spec, self._claims.values()) if spec else Assignment())


def _without_status(manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    kept = {"name": metadata["name"], "generation": metadata.get("generation", 0)}
    return {"metadata": kept, "spec": manifest.get("spec")}


def _first_repeated(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _applied(schedules: Mapping[str, KnownSchedule]) -> dict[str, Manifest]:
    return {name: schedule.manifest for name, schedule in schedules.items() if schedule.applied}
