"""The port between the agent and what its devices are: CPUs, emulated GPUs, or GPUs under MPS."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kneescale.api.vocabulary import Tier

#: The longest string that a ResourceSlice attribute may hold (k8s.io/api resource/v1).
_ATTRIBUTE_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Device:
    """One device that partitions share.

    Lanes are the multiples of `lane_percent_step` up to 100 GPU%; `clients` is how many partitions may hold
    the device at once; `sm_count` is 0 where the device has no streaming multiprocessors.
    """

    name: str
    uuid: str
    product_name: str
    memory_bytes: int
    clients: int
    lane_percent_step: int
    sm_count: int = 0
    tier: Tier = Tier.GREEN_CONTEXTS
    #: Why nothing may run on it, in one CamelCase word; empty while it is healthy.
    sickness: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host in a worker's container, read-only."""

    host_path: str
    container_path: str


@dataclass(frozen=True, slots=True)
class ContainerEdits:
    """What a claim adds to the containers that use it."""

    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()


class Backend(Protocol):
    """What the agent needs of a kind of device; both methods are cheap and may be called at any time."""

    @property
    def name(self) -> str:
        """What the ResourceSlice's `backend` attribute and the workers' KNEESCALE_BACKEND say."""

    def devices(self) -> tuple[Device, ...]:
        """The devices of this node, as they are now; names and uuids stay the same over restarts."""

    def container_edits(self, device: Device) -> ContainerEdits:
        """What a worker needs in its container to use `device`, beside its grant socket."""


def node_uuid(prefix: str, node_name: str, suffix: str = "") -> str:
    """A stable device uuid from a node's name, hashed when the name is too long for an attribute."""
    uuid = f"{prefix}-{node_name}{suffix}"
    if len(uuid) <= _ATTRIBUTE_LENGTH:
        return uuid
    return f"{prefix}-{hashlib.sha256(node_name.encode()).hexdigest()[:32]}{suffix}"


def attribute_text(text: str) -> str:
    """`text` cut to the length that a ResourceSlice attribute may have."""
    return text[:_ATTRIBUTE_LENGTH].rstrip("-")
