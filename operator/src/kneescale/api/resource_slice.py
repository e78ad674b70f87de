"""The devices that Kneescale's agents publish in ResourceSlices (resource.k8s.io/v1)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from kneescale.api.codec import JsonName, decode
from kneescale.api.names import DRIVER, TAINT
from kneescale.api.quantity import parse_quantity
from kneescale.core.backends import Backend
from kneescale.core.errors import InvalidInputError
from kneescale.core.tiers import Tier
from kneescale.core.units import WHOLE_GPU_PERCENT

T = TypeVar("T", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """One GPU (or what stands in for it on the cpu and emulated backends) of one node."""

    node: str
    name: str
    uuid: str
    product_name: str
    backend: Backend
    tier: Tier
    lane_percent_step: int
    memory_bytes: int
    #: Most partitions at once; of a GPU in SM partitions, its chunks of SMs.
    clients: int
    #: Why nothing may run on it, as its taint says; empty on a healthy device.
    sickness: str = ""
    #: Of the GPU's driver; empty where there is none, or nobody says.
    driver_version: str = ""

    @property
    def place(self) -> str:
        """The node and the device, for people."""
        return f"{self.node}/{self.name}"

    @property
    def kind(self) -> str:
        """The product, told apart from an emulated one of the same name, and from one shared otherwise."""
        product = f"emulated {self.product_name}" if self.backend is Backend.EMULATED else self.product_name
        return f"{product} in SM partitions" if self.reserves_sms else product

    @property
    def reserves_sms(self) -> bool:
        """Whether a worker has its SMs for itself, whether it runs or not."""
        return self.tier is Tier.SM_PARTITIONS

    @property
    def lanes(self) -> tuple[int, ...]:
        """Every GPU% that a worker on this device may be granted, rising."""
        return tuple(range(self.lane_percent_step, WHOLE_GPU_PERCENT + 1, self.lane_percent_step))


def one_of_each_kind(devices: Iterable[GpuDevice]) -> dict[str, GpuDevice]:
    """By its kind, the last device of it."""
    return {device.kind: device for device in devices}


@dataclass(frozen=True, slots=True)
class _Attribute:
    """A value of one of the types that attributes have."""

    string: str | None = None
    number: Annotated[int | None, JsonName("int")] = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class _Capacity:
    value: str | None = None


@dataclass(frozen=True, slots=True)
class _Taint:
    key: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class _Device:
    name: str
    attributes: Mapping[str, _Attribute] = field(default_factory=lambda: MappingProxyType({}))
    capacity: Mapping[str, _Capacity] = field(default_factory=lambda: MappingProxyType({}))
    taints: tuple[_Taint, ...] = ()


@dataclass(frozen=True, slots=True)
class _Driver:
    driver: str = ""


@dataclass(frozen=True, slots=True)
class _SliceSpec:
    node_name: str
    devices: tuple[_Device, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedSlice:
    """What the agent of a node publishes, be it nothing."""

    node: str
    _devices: tuple[_Device, ...]

    def devices(self) -> tuple[GpuDevice, ...]:
        """Its devices; that one cannot be read does not make the node one that publishes nothing.

        Raises InvalidInputError when a device lacks an attribute or capacity that an agent publishes.
        """
        return tuple(_parse_device(device, self.node) for device in self._devices)


def parse_resource_slice(obj: Mapping[str, Any]) -> PublishedSlice | None:
    """Our driver's ResourceSlice; None when it is another driver's, which have other shapes.

    Raises InvalidInputError when it names no node.
    """
    spec = obj.get("spec") or {}
    if decode(_Driver, spec, "spec").driver != DRIVER:
        return None
    ours = decode(_SliceSpec, spec, "spec")
    return PublishedSlice(ours.node_name, ours.devices)


def _parse_device(device: _Device, node: str) -> GpuDevice:
    path = f"device {node}/{device.name}"
    step = _attribute(device, "lanePercentStep").number
    if step is None:
        raise InvalidInputError(f"{path} has no attribute lanePercentStep of type int")
    if not 1 <= step <= WHOLE_GPU_PERCENT:
        raise InvalidInputError(f"{path}: lanePercentStep must be between 1 and 100, not {step}")
    clients = _capacity(device, "clients", path)
    if clients < 1:
        raise InvalidInputError(f"{path}: clients must be at least 1, not {clients}")
    return GpuDevice(
        node=node,
        name=device.name,
        uuid=_text(device, "uuid", path),
        product_name=_text(device, "productName", path),
        backend=_one_of(Backend, device, "backend", path),
        tier=_one_of(Tier, device, "tier", path),
        lane_percent_step=step,
        memory_bytes=_capacity(device, "memory", path),
        clients=clients,
        sickness=next((taint.value for taint in device.taints if taint.key == TAINT), ""),
        driver_version=_attribute(device, "driverVersion").version or "",
    )


def _one_of(kind: type[T], device: _Device, name: str, path: str) -> T:
    value = _text(device, name, path)
    if value not in set(kind):
        raise InvalidInputError(f"{path}: {name} must be one of {', '.join(kind)}, not {value!r}")
    return kind(value)


def _text(device: _Device, name: str, path: str) -> str:
    value = _attribute(device, name).string
    if value is None:
        raise InvalidInputError(f"{path} has no attribute {name} of type string")
    return value


def _attribute(device: _Device, name: str) -> _Attribute:
    return device.attributes.get(name, _Attribute())


def _capacity(device: _Device, name: str, path: str) -> int:
    value = device.capacity.get(name, _Capacity()).value
    if value is None:
        raise InvalidInputError(f"{path} has no capacity {name}")
    return parse_quantity(value)
