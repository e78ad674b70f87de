"""Which devices each model goes on: the core's placement over what runs already."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kneescale.api.inference_model import InferenceModel
from kneescale.api.names import partition_name
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import Role
from kneescale.core.planning.placement import Demand, Device, Placed, Unplaced, place
from kneescale.plan.eligibility import worker_lanes
from kneescale.plan.finding import Finding, fails
from kneescale.plan.sizing import Size, Sizing
from kneescale.plan.state import Observed, Settings
from kneescale.plan.workloads import Claim, ModelKey, Pod


@dataclass(frozen=True, slots=True)
class Target:
    """A partition that the plan wants: one model on one device."""

    name: str
    model: InferenceModel
    device: GpuDevice
    lanes: tuple[int, ...]
    size: Size
    #: Its part of the GPU's area: the model's rate is shared among its partitions.
    area_permille: int


@dataclass(frozen=True, slots=True)
class Placing:
    """A model's targets; with none, `obstacle` says why, with some, `shortfall` why not more."""

    targets: tuple[Target, ...] = ()
    shortfall: str | None = None
    obstacle: Finding | None = None


def place_models(
    sized: Iterable[tuple[InferenceModel, Sizing]], observed: Observed, settings: Settings
) -> Mapping[ModelKey, Placing]:
    """Place every model that has a size on some kind of device; models stay where they fit."""
    sizings = {model.metadata.key: (model, sizing) for model, sizing in sized if sizing.by_kind}
    outcome = place(
        [_demand(model, sizing) for model, sizing in sizings.values()],
        [_device(device) for device in observed.devices],
        _current(observed),
        area_limit_permille=settings.area_limit_permille,
    )
    devices = {device.uuid: device for device in observed.devices}
    return {
        key: _placing(outcome[_name(key)], model, sizing, devices, settings)
        for key, (model, sizing) in sizings.items()
    }


def _demand(model: InferenceModel, sizing: Sizing) -> Demand:
    fewest, most = model.spec.scaling.bounds
    return Demand(
        model=_name(model.metadata.key),
        configurations={kind: size.configuration for kind, size in sizing.by_kind.items()},
        memory_bytes=model.spec.gpu.memory_bytes,
        min_replicas=fewest,
        max_replicas=most,
    )


def _device(device: GpuDevice) -> Device:
    return Device(
        uuid=device.uuid,
        node=device.node,
        name=device.name,
        product=device.kind,
        memory_bytes=device.memory_bytes,
        clients=device.clients,
    )


def _current(observed: Observed) -> Mapping[str, tuple[str, ...]]:
    """Where each model's workers are, read from the cluster, so that no memory is needed.

    Claims tell it only of a model that has no pod yet: one whose pod is gone is on its way out itself.
    """
    claims = [claim for claim in observed.claims if claim.role is Role.SERVE]
    pods = [pod for pod in observed.pods if not pod.metadata.deleting]
    return _devices_by_model(claims) | _devices_by_model(pods)


def _devices_by_model(holders: Iterable[Claim | Pod]) -> dict[str, tuple[str, ...]]:
    devices: dict[str, set[str]] = {}
    for holder in holders:
        devices.setdefault(_name(holder.model), set()).add(holder.device_uuid)
    return {name: tuple(sorted(uuids)) for name, uuids in devices.items()}


def _placing(
    outcome: Placed | Unplaced,
    model: InferenceModel,
    sizing: Sizing,
    devices: Mapping[str, GpuDevice],
    settings: Settings,
) -> Placing:
    if isinstance(outcome, Unplaced):
        return Placing(obstacle=fails("InsufficientGPU", outcome.reason))
    replicas = len(outcome.devices)
    targets = tuple(
        _target(model, devices[uuid], sizing.by_kind[devices[uuid].kind], replicas, settings)
        for uuid in outcome.devices
    )
    return Placing(targets, outcome.shortfall)


def _target(
    model: InferenceModel, device: GpuDevice, size: Size, replicas: int, settings: Settings
) -> Target:
    lanes, source = worker_lanes(model, device), model.spec.model
    return Target(
        name=partition_name(
            model.metadata.name,
            model.metadata.namespace,
            source.uri,
            source.format,
            device.uuid,
            lanes,
            model.spec.max_batch,
            model.spec.gpu.memory_bytes,
            settings.worker_image,
        ),
        model=model,
        device=device,
        lanes=lanes,
        size=size,
        area_permille=-(-size.configuration.area_permille // replicas),
    )


def _name(key: ModelKey) -> str:
    return "/".join(key)
