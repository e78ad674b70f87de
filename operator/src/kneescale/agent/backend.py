"""The port between the agent and what its devices are: CPUs, emulated GPUs, or GPUs under MPS."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from kneescale.core.tiers import Tier

#: The longest string that a ResourceSlice attribute may hold (k8s.io/api resource/v1).
_ATTRIBUTE_LENGTH = 64


@dataclass(frozen=True, slots=True)
class GpuDetails:
    """What is known of a real GPU alone; versions as semantic ones, so that CEL can compare them.

    `mps_protocol` is the newest that the control daemon speaks, `static_partitions` whether its `-S` works.
    """

    compute_capability: str
    driver_version: str
    cuda_driver_version: str
    mps_protocol: int
    static_partitions: bool


@dataclass(frozen=True, slots=True)
class Device:
    """One device that partitions share.

    Lanes are the multiples of `lane_percent_step` up to 100 GPU%; `clients` is how many partitions may hold
    the device at once, and in the tier of SM partitions how many chunks of SMs they can have; `sm_count` is 0
    where the device has no streaming multiprocessors.
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
    gpu: GpuDetails | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something of this node is no device: a reason in one CamelCase word, and what to do about it.

    `device` names the one that is there and on which no worker can start meanwhile; empty where the trouble
    is of none.
    """

    reason: str
    message: str
    device: str = ""


@dataclass(frozen=True, slots=True)
class ContextLosses:
    """How often all workers of a device lost their GPU contexts, and in one line why they did so last.

    `last_ns` is when that was, on the node's monotonic clock; None where only the count tells of it.
    """

    count: int
    reason: str
    last_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the host in a worker's container."""

    host_path: str
    container_path: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class ContainerEdits:
    """What a claim adds to the containers that use it.

    `cdi_devices` are fully qualified names of CDI devices that somebody else describes.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    cdi_devices: tuple[str, ...] = ()

    def plus(self, other: "ContainerEdits") -> "ContainerEdits":
        """Both edits as one."""
        return ContainerEdits(
            {**self.env, **other.env}, self.mounts + other.mounts, self.cdi_devices + other.cdi_devices
        )


@dataclass(frozen=True, slots=True)
class Share:
    """What a claim was given of a device; `memory_bytes` is 0 where it is not known."""

    claim_uid: str
    memory_bytes: int
    clients: int


class Backend(Protocol):
    """What the agent needs of a kind of device; all but `run` are cheap and for any thread at any time."""

    @property
    def name(self) -> str:
        """What the ResourceSlice's `backend` attribute and the workers' KNEESCALE_BACKEND say."""

    @property
    def knows_devices(self) -> bool:
        """Whether `devices` are all that this node has; before, one that is missing may be there.

        It becomes true while `run` runs, or `troubles` says what is in the way.
        """

    def devices(self) -> tuple[Device, ...]:
        """The devices of this node, as they are now; names and uuids stay the same over restarts."""

    def troubles(self) -> tuple[Trouble, ...]:
        """What is not among the devices though it could be; empty where there is no such thing."""

    def context_losses(self) -> Mapping[str, ContextLosses]:
        """Of each device, by name, on which that can happen and of which something is known."""

    def container_edits(self, device: Device, share: Share) -> ContainerEdits:
        """What a worker needs to use its share of `device`, beside its grant socket."""

    def reserve(self, device: Device, share: Share) -> None:
        """Have ready what that worker needs; the same again when it is already there.

        Raises OSError.
        """

    def release_others(self, claim_uids: Collection[str]) -> None:
        """Take that back of all claims but these.

        Raises OSError.
        """

    def run(self, stop: Event) -> None:
        """Keep looking at the devices until `stop`; returns at once where there is nothing to look at."""


def node_uuid(prefix: str, node_name: str, suffix: str = "") -> str:
    """A stable device uuid from a node's name, hashed when the name is too long for an attribute."""
    uuid = f"{prefix}-{node_name}{suffix}"
    if len(uuid) <= _ATTRIBUTE_LENGTH:
        return uuid
    return f"{prefix}-{hashlib.sha256(node_name.encode()).hexdigest()[:32]}{suffix}"


def attribute_text(text: str) -> str:
    """`text` cut to the length that a ResourceSlice attribute may have."""
    return text[:_ATTRIBUTE_LENGTH].rstrip("-")
