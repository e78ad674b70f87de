"""The devices that Kneescale's agents publish in ResourceSlices (resource.k8s.io/v1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from kneescale.api.codec import Json
from kneescale.api.names import DRIVER, TAINT
from kneescale.api.quantity import parse_quantity
from kneescale.api.vocabulary import Backend, Tier
from kneescale.core.errors import InvalidInputError
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


def parse_resource_slice(obj: Mapping[str, Any]) -> tuple[GpuDevice, ...]:
    """Our driver's devices of a ResourceSlice; none when the slice is another driver's.

    Raises InvalidInputError when a device lacks an attribute or capacity that an agent publishes.
    """
    spec = obj.get("spec") or {}
    if spec.get("driver") != DRIVER:
        return ()
    return tuple(_parse_device(device, spec["nodeName"]) for device in spec.get("devices") or ())


def publishing_node(obj: Mapping[str, Any]) -> str | None:
    """The node whose agent publishes this ResourceSlice, be it empty; None when it is another driver's."""
    spec = obj.get("spec") or {}
    return str(spec["nodeName"]) if spec.get("driver") == DRIVER else None


def _parse_device(device: Mapping[str, Any], node: str) -> GpuDevice:
    path = f"device {node}/{device['name']}"
    step = _attribute(device, "lanePercentStep", "int", path)
    if not 1 <= step <= WHOLE_GPU_PERCENT:
        raise InvalidInputError(f"{path}: lanePercentStep must be between 1 and 100, not {step}")
    return GpuDevice(
        node=node,
        name=device["name"],
        uuid=_attribute(device, "uuid", "string", path),
        product_name=_attribute(device, "productName", "string", path),
        backend=_one_of(Backend, device, "backend", path),
        tier=_one_of(Tier, device, "tier", path),
        lane_percent_step=step,
        memory_bytes=_capacity(device, "memory", path),
        clients=_capacity(device, "clients", path),
        sickness=next((taint["value"] for taint in device.get("taints") or () if taint["key"] == TAINT), ""),
        driver_version=(device.get("attributes") or {}).get("driverVersion", {}).get("version", ""),
    )


def _one_of(kind: type[T], device: Mapping[str, Any], name: str, path: str) -> T:
    value = _attribute(device, name, "string", path)
    if value not in set(kind):
        raise InvalidInputError(f"{path}: {name} must be one of {', '.join(kind)}, not {value!r}")
    return kind(value)


def _attribute(device: Mapping[str, Any], name: str, kind: str, path: str) -> Json:
    value = (device.get("attributes") or {}).get(name, {}).get(kind)
    if value is None:
        raise InvalidInputError(f"{path} has no attribute {name} of type {kind}")
    return value


def _capacity(device: Mapping[str, Any], name: str, path: str) -> int:
    value = (device.get("capacity") or {}).get(name, {}).get("value")
    if value is None:
        raise InvalidInputError(f"{path} has no capacity {name}")
    return parse_quantity(str(value))
