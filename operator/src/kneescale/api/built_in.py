"""Pods, Jobs and ResourceClaims as the API server shows them, as far as Kneescale reads them."""

from dataclasses import dataclass
from typing import Annotated

from kneescale.api.codec import Items, JsonName
from kneescale.api.vocabulary import GpuPercent, Time


@dataclass(frozen=True, slots=True)
class BuiltInCondition:
    """A condition of a kind of Kubernetes' own, most of which say less than metav1.Condition asks for."""

    type: str
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: Time | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container has yet to start."""

    reason: str = "ContainerCreating"
    message: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended; `message` is its termination message."""

    exit_code: int
    reason: str = "Error"
    message: str = ""
    started_at: Time | None = None
    finished_at: Time | None = None


@dataclass(frozen=True, slots=True)
class ContainerState:
    """A container that runs has neither."""

    waiting: Waiting | None = None
    terminated: Ended | None = None


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """A container now, and before it was started the last time."""

    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()

    @property
    def ended(self) -> Ended | None:
        """How it ended last."""
        return self.state.terminated or self.last_state.terminated


@dataclass(frozen=True, slots=True)
class PodStatus:
    """A pod's status."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    conditions: tuple[BuiltInCondition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    address: Annotated[str, JsonName("podIP")] = ""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A Job's status."""

    conditions: tuple[BuiltInCondition, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod's spec."""

    image: str


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod's spec."""

    containers: tuple[Container, ...] = ()
    #: Empty before the scheduler has chosen one.
    node_name: str = ""

    @property
    def image(self) -> str:
        """The image of its first container."""
        return self.containers[0].image if self.containers else ""


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """What a Job makes its pods from."""

    spec: PodSpec


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A Job's spec."""

    template: PodTemplate


@dataclass(frozen=True, slots=True)
class RequestedCapacity:
    """How much a claim wants of a device, as quantities."""

    memory: str
    clients: str


@dataclass(frozen=True, slots=True)
class CapacityRequirements:
    """What a request says of capacities."""

    requests: RequestedCapacity


@dataclass(frozen=True, slots=True)
class ExactRequest:
    """A request for a device."""

    capacity: CapacityRequirements


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A request without alternatives."""

    exactly: ExactRequest


@dataclass(frozen=True, slots=True)
class PartitionConfig:
    """What our driver is told of the worker."""

    lanes: Annotated[tuple[GpuPercent, ...], Items(max_items=100, min_items=1)]


@dataclass(frozen=True, slots=True)
class OpaqueConfig:
    """What is for the driver alone."""

    parameters: PartitionConfig


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """A configuration of the claim's device."""

    opaque: OpaqueConfig


@dataclass(frozen=True, slots=True)
class DeviceClaim:
    """The one device that a claim of the operator's asks for."""

    requests: Annotated[tuple[DeviceRequest, ...], Items(max_items=1, min_items=1)]
    config: Annotated[tuple[DeviceConfig, ...], Items(max_items=1, min_items=1)]


@dataclass(frozen=True, slots=True)
class ClaimSpec:
    """A ResourceClaim's spec."""

    devices: DeviceClaim


@dataclass(frozen=True, slots=True)
class Allocation:
    """What the scheduler gave to a claim; what it is does not matter here."""


@dataclass(frozen=True, slots=True)
class ClaimStatus:
    """A ResourceClaim's status."""

    allocation: Allocation | None = None
