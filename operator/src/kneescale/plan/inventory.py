"""Which GPUs there are, and which of them take new workers, keep those they have, or are to be left.

A device is there while a ResourceSlice lists it. The kubelet deletes the slice when the agent is away for
half a minute, although the workers serve on: such a device is remembered from its GPUSchedule as long as its
node is there and has a worker on it (docs/adr/0024).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

from kneescale.api.conditions import format_time
from kneescale.api.gpu_schedule import device_of
from kneescale.api.node import Node
from kneescale.api.resource_slice import GpuDevice, one_of_each_kind
from kneescale.plan.state import Observed

#: The node lifecycle controller says NotReady after 50 s without a sign of life; this is for a control plane
#: that was away itself and sees many such nodes at once. Kubernetes evicts pods after 300 s.
NOT_READY_PATIENCE = timedelta(seconds=30)


class Standing(StrEnum):
    """What the plan may do with a device."""

    #: New workers may come.
    OPEN = "Open"
    #: None may come, those that are there stay.
    HELD = "Held"
    #: None may come, those that are there go elsewhere as soon as there is room.
    LEAVING = "Leaving"


@dataclass(frozen=True, slots=True)
class Site:
    """A device and its standing; `why` tells it in words where it is not open."""

    device: GpuDevice
    standing: Standing = Standing.OPEN
    why: str = ""


@dataclass(frozen=True)
class Inventory:
    """All devices, each once, in the order of nodes and names."""

    sites: tuple[Site, ...]
    #: When a standing changes with time alone.
    due_at: datetime | None = None

    @cached_property
    def devices(self) -> tuple[GpuDevice, ...]:
        """The devices of every standing."""
        return tuple(site.device for site in self.sites)

    @cached_property
    def by_uuid(self) -> Mapping[str, Site]:
        """The sites by the uuid of their device."""
        return {site.device.uuid: site for site in self.sites}

    @cached_property
    def by_kind(self) -> Mapping[str, GpuDevice]:
        """One device of each kind."""
        return one_of_each_kind(self.devices)

    @cached_property
    def open(self) -> tuple[GpuDevice, ...]:
        """The devices that take new workers."""
        return tuple(site.device for site in self.sites if site.standing is Standing.OPEN)

    @cached_property
    def closed_uuids(self) -> frozenset[str]:
        """The devices that take none."""
        return frozenset(self.by_uuid) - {device.uuid for device in self.open}

    @cached_property
    def leaving_uuids(self) -> frozenset[str]:
        """The devices that are to be left."""
        return frozenset(site.device.uuid for site in self.sites if site.standing is Standing.LEAVING)


def take_inventory(observed: Observed) -> Inventory:
    """The published devices and the remembered ones; those of a node that is gone are gone, too."""
    remembered = tuple(_remembered(observed))
    sites = (
        _site(device, node, observed, is_remembered=device in remembered)
        for device in (*observed.devices, *remembered)
        if (node := observed.nodes.get(device.node))
    )
    return Inventory(
        _each_once(sorted(sites, key=lambda site: (site.device.node, site.device.name))),
        due_at=min(_changes(observed), default=None),
    )


def _each_once(sites: Sequence[Site]) -> tuple[Site, ...]:
    """Of a device that several nodes show, as one that was moved, the site where most may be done."""
    chosen = {site.device.uuid: site for site in sorted(sites, key=_may_less, reverse=True)}
    return tuple(site for site in sites if chosen[site.device.uuid] is site)


def _may_less(site: Site) -> int:
    return tuple(Standing).index(site.standing)


def _remembered(observed: Observed) -> Iterator[GpuDevice]:
    """Devices with workers, of nodes whose agent publishes nothing; one that it leaves out is withdrawn."""
    published = {device.uuid for device in observed.devices}
    used = {pod.device_uuid for pod in observed.pods if not pod.lost}
    for schedule in observed.schedules:
        spec = schedule.spec
        if spec.uuid in used - published and spec.node_name not in observed.publishing_nodes:
            yield device_of(spec)


def _site(device: GpuDevice, node: Node, observed: Observed, *, is_remembered: bool) -> Site:
    leaving = _why_leave(device, node, observed)
    if leaving:
        return Site(device, Standing.LEAVING, leaving)
    held = _why_hold(device, node, is_remembered=is_remembered)
    return Site(device, Standing.HELD, held) if held else Site(device)


def _why_leave(device: GpuDevice, node: Node, observed: Observed) -> str | None:
    if device.sickness:
        return f"{device.place} is sick ({device.sickness})"
    if node.cordoned:
        return f"node {device.node} is cordoned"
    lasting = [taint for taint in node.taints if not taint.is_passing]
    if lasting:
        return f"node {device.node} has the taint {lasting[0]}"
    if node.not_ready_since and _not_ready_for(node, observed) >= NOT_READY_PATIENCE:
        return f"node {device.node} has not been ready since {format_time(node.not_ready_since)}"
    return None


def _not_ready_for(node: Node, observed: Observed) -> timedelta:
    """No less than it was seen so, where the operator's clock is behind; 0 of a node that is ready."""
    if node.not_ready_since is None:
        return timedelta(0)
    return max(observed.now - node.not_ready_since, observed.age_of(node.metadata))


def _why_hold(device: GpuDevice, node: Node, *, is_remembered: bool) -> str | None:
    if node.not_ready_since:
        return f"node {device.node} is not ready"
    if node.taints:
        return f"node {device.node} has the taint {node.taints[0]}"
    return f"the agent of node {device.node} is away" if is_remembered else None


def _changes(observed: Observed) -> Iterator[datetime]:
    for node in observed.nodes.values():
        left = NOT_READY_PATIENCE - _not_ready_for(node, observed)
        if node.not_ready_since and left > timedelta(0):
            yield observed.now + left
