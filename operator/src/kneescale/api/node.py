"""Nodes, as far as it matters for the GPUs on them: whether they live, and whether pods may come to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kneescale.api.built_in import BuiltInCondition
from kneescale.api.codec import decode
from kneescale.api.conditions import parse_time
from kneescale.api.meta import Metadata, Owner, parse_metadata

#: GPU nodes often have this taint, to keep pods away that need no GPU; workers tolerate it.
GPU_TAINT = "nvidia.com/gpu"

#: The node lifecycle controller's taints for what the Ready condition says, too, with the time since when.
_NOT_READY = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})
_EFFECTS = frozenset({"NoSchedule", "NoExecute"})


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint that keeps pods off a node, and so workers."""

    key: str
    effect: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"

    @property
    def is_passing(self) -> bool:
        """Whether the kubelet takes it away by itself, as its pressure on memory or disks passes."""
        return self.key.startswith("node.kubernetes.io/") and self.key.endswith(("-pressure", "-unavailable"))


@dataclass(frozen=True, slots=True)
class Node:
    """A node; `not_ready_since` is None while its kubelet reports that all is well."""

    metadata: Metadata
    cordoned: bool = False
    not_ready_since: datetime | None = None
    #: Those that workers do not tolerate.
    taints: tuple[Taint, ...] = ()

    @property
    def owner(self) -> Owner:
        """The owner reference of what goes with the node."""
        return Owner("v1", "Node", self.metadata.name, self.metadata.uid)


@dataclass(frozen=True, slots=True)
class _NodeSpec:
    unschedulable: bool = False
    taints: tuple[Taint, ...] = ()


@dataclass(frozen=True, slots=True)
class _NodeStatus:
    conditions: tuple[BuiltInCondition, ...] = ()


def parse_node(obj: Mapping[str, Any]) -> Node:
    """A Node as the API server gives it. Raises InvalidInputError."""
    spec = decode(_NodeSpec, obj.get("spec") or {}, "spec")
    status = decode(_NodeStatus, obj.get("status") or {}, "status")
    return Node(
        metadata=parse_metadata(obj),
        cordoned=spec.unschedulable,
        not_ready_since=_not_ready_since(status),
        taints=tuple(filter(_keeps_workers_off, spec.taints)),
    )


def _not_ready_since(status: _NodeStatus) -> datetime | None:
    ready = next((condition for condition in status.conditions if condition.type == "Ready"), None)
    if ready is None or ready.status == "True" or ready.last_transition_time is None:
        return None
    return parse_time(ready.last_transition_time)


def _keeps_workers_off(taint: Taint) -> bool:
    """A cordon has a taint of its own besides the spec's field, which says it better."""
    told_otherwise = _NOT_READY | {"node.kubernetes.io/unschedulable", GPU_TAINT}
    return taint.effect in _EFFECTS and taint.key not in told_otherwise
