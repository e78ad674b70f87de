"""Which devices each model goes on: the core's placement over what runs already."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from kneescale.api.footprint import Footprint, footprint, least_footprint
from kneescale.api.inference_model import InferenceModel
from kneescale.api.meta import full_name
from kneescale.api.names import partition_name
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import Role
from kneescale.core.planning.configuration import Configuration
from kneescale.core.planning.placement import Demand, Device, Placed, Unplaced, place
from kneescale.core.units import ceil_div
from kneescale.plan.eligibility import worker_lanes
from kneescale.plan.finding import Finding, fails
from kneescale.plan.inventory import Inventory
from kneescale.plan.pools import Resident, choose_worker_lanes
from kneescale.plan.sizing import Size, Sizing, has_grown, size_on_lanes
from kneescale.plan.state import Observed, Settings
from kneescale.plan.words import counted
from kneescale.plan.workloads import Claim, ModelKey, Pod


@dataclass(frozen=True, slots=True)
class Target:
    """A partition that the plan wants: one model on one device."""

    name: str
    model: InferenceModel
    device: GpuDevice
    #: A pool has one entry for each lane, other lanes run any number of batches.
    lanes: tuple[int, ...]
    is_pool: bool
    size: Size
    #: Its part of the GPU's area: the model's rate is shared among its partitions.
    area_permille: int

    @property
    def footprint(self) -> Footprint:
        """What its worker is on the device."""
        return footprint(self.device, self.lanes)

    @property
    def memory_bytes(self) -> int:
        """GPU memory of its worker."""
        return self.footprint.copies * self.model.spec.gpu.memory_bytes

    @property
    def place(self) -> str:
        """The node and the device, for people."""
        return self.device.place


@dataclass(frozen=True, slots=True)
class Placing:
    """A model's targets; with none, `obstacle` says why.

    With some, `shortfall` says why not more, `stuck` why some are on devices that are to be left, `squeezed`
    what a model that has grown lacks.
    """

    targets: tuple[Target, ...] = ()
    shortfall: str | None = None
    stuck: str | None = None
    squeezed: str | None = None
    obstacle: Finding | None = None
    #: How many GPUs more would give it what it lacks.
    missing_gpus: int = 0


@dataclass(frozen=True, slots=True)
class Detour:
    """What one model should do about a GPU that does not get its new worker started: look for another one."""

    leaves: frozenset[str]
    #: Devices that have no room now either.
    closed: frozenset[str]


def place_models(
    sized: Iterable[tuple[InferenceModel, Sizing]],
    inventory: Inventory,
    observed: Observed,
    settings: Settings,
    detours: Mapping[ModelKey, Detour] = MappingProxyType({}),
) -> Mapping[ModelKey, Placing]:
    """Place every model that has a size on some kind of device; models stay where they fit."""
    sizings = {model.metadata.key: (model, sizing) for model, sizing in sized if sizing.by_kind}
    outcome = place(
        [
            _demand(model, sizing, inventory, detours.get(key, Detour(frozenset(), frozenset())), settings)
            for key, (model, sizing) in sizings.items()
        ],
        [_device(device) for device in inventory.devices],
        _current(sizings, inventory, observed, settings),
        area_limit_permille=settings.area_limit_permille,
    )
    outcomes = {key: outcome[full_name(key)] for key in sizings}
    lanes = _lanes(outcomes, sizings, inventory, observed, settings)
    return {
        key: _placing(outcomes[key], model, sizing, inventory, lanes, settings)
        for key, (model, sizing) in sizings.items()
    }


def _demand(
    model: InferenceModel, sizing: Sizing, inventory: Inventory, detour: Detour, settings: Settings
) -> Demand:
    fewest, most = model.spec.scaling.bounds
    return Demand(
        model=full_name(model.metadata.key),
        configurations={
            kind: _configuration(size, inventory.by_kind[kind], settings)
            for kind, size in sizing.by_kind.items()
        },
        memory_bytes=model.spec.gpu.memory_bytes,
        min_replicas=fewest,
        max_replicas=most,
        closed=inventory.closed_uuids | detour.closed,
        leaves=inventory.leaving_uuids | detour.leaves,
        is_elastic=any(has_grown(model, size) for size in sizing.by_kind.values()),
    )


def _configuration(size: Size, device: GpuDevice, settings: Settings) -> Configuration:
    """As it is sized; but SMs that are reserved are taken all the time, up to the last chunk of the GPU."""
    plan = size.configuration
    if not device.reserves_sms:
        return plan
    chunks = footprint(device, (plan.gpu_percent,)).clients
    reserved_permille = settings.area_limit_permille * chunks // device.clients
    return replace(plan, area_permille=max(plan.area_permille, reserved_permille))


def _device(device: GpuDevice) -> Device:
    return Device(
        uuid=device.uuid,
        node=device.node,
        name=device.name,
        product=device.kind,
        memory_bytes=device.memory_bytes,
        clients=device.clients // least_footprint(device).clients,
    )


def _current(
    sizings: Mapping[ModelKey, tuple[InferenceModel, Sizing]],
    inventory: Inventory,
    observed: Observed,
    settings: Settings,
) -> Mapping[str, tuple[str, ...]]:
    """Where each model's workers are, up-to-date ones first: read from the cluster, so no memory is needed.

    Claims tell it only of a model that has no pod yet: one whose pod is gone is on its way out itself. On a
    device that takes no new workers only those are that have a pod.
    """
    models = {key: model for key, (model, _) in sizings.items()}
    pods = [pod for pod in observed.pods if not pod.metadata.deleting]
    models_with_pods, pod_keys = {pod.model for pod in pods}, {pod.metadata.key for pod in pods}
    fresh = {
        (claim.model, claim.device_uuid)
        for claim in observed.claims
        if claim.model in models
        and (claim.metadata.key in pod_keys or claim.model not in models_with_pods)
        and _is_fresh(claim, models[claim.model], inventory, settings)
    }
    claims = [
        claim
        for claim in observed.claims
        if claim.role is Role.SERVE and claim.device_uuid not in inventory.closed_uuids
    ]
    devices = _devices_by_model(claims) | _devices_by_model(pods)
    return {
        full_name(key): tuple(sorted(uuids, key=lambda uuid: ((key, uuid) not in fresh, uuid)))
        for key, uuids in devices.items()
    }


def _is_fresh(claim: Claim, model: InferenceModel, inventory: Inventory, settings: Settings) -> bool:
    """Whether the plan would make the same claim on that device today; its pool may still change."""
    site = inventory.by_uuid.get(claim.device_uuid)
    if site is None:
        return False
    lanes = claim.lanes if site.device.tier.has_pools else worker_lanes(model, site.device)
    return claim.metadata.name == _partition_name(model, site.device, lanes, settings)


def _devices_by_model(holders: Iterable[Claim | Pod]) -> dict[ModelKey, set[str]]:
    devices: dict[ModelKey, set[str]] = {}
    for holder in holders:
        devices.setdefault(holder.model, set()).add(holder.device_uuid)
    return devices


def _lanes(
    outcomes: Mapping[ModelKey, Placed | Unplaced],
    sizings: Mapping[ModelKey, tuple[InferenceModel, Sizing]],
    inventory: Inventory,
    observed: Observed,
    settings: Settings,
) -> Mapping[str, Mapping[ModelKey, tuple[int, ...]]]:
    """The lanes of each worker, by the uuid of its device and its model; chosen for each device's set."""
    residents: dict[str, list[Resident]] = {}
    for key, outcome in outcomes.items():
        model, sizing = sizings[key]
        uuids = outcome.devices if isinstance(outcome, Placed) else ()
        for uuid in uuids:
            size = sizing.by_kind[inventory.by_uuid[uuid].device.kind]
            residents.setdefault(uuid, []).append(Resident(model, size, len(uuids)))
    return {
        uuid: choose_worker_lanes(inventory.by_uuid[uuid].device, on_device, observed.claims, settings)
        for uuid, on_device in residents.items()
    }


def _placing(
    outcome: Placed | Unplaced,
    model: InferenceModel,
    sizing: Sizing,
    inventory: Inventory,
    lanes: Mapping[str, Mapping[ModelKey, tuple[int, ...]]],
    settings: Settings,
) -> Placing:
    if isinstance(outcome, Unplaced):
        obstacle = fails("InsufficientGPU", outcome.reason + _closed_in_words(inventory))
        return Placing(obstacle=obstacle, missing_gpus=int(_would_fit_alone(model, sizing, settings)))
    targets = []
    for uuid in outcome.devices:
        device = inventory.by_uuid[uuid].device
        on_device = lanes[uuid][model.metadata.key]
        targets.append(
            _target(model, device, on_device, sizing.by_kind[device.kind], len(outcome.devices), settings)
        )
    missing = _missing_gpus(outcome, model, settings)
    squeezed = _squeezed_in_words(outcome.squeezed, model, missing) if outcome.squeezed else None
    return Placing(tuple(targets), outcome.shortfall, outcome.stuck, squeezed, missing_gpus=missing)


def _would_fit_alone(model: InferenceModel, sizing: Sizing, settings: Settings) -> bool:
    """Whether replicas within the bounds carry the rate on GPUs of their own."""
    most = model.spec.scaling.bounds[1]
    return any(
        size.configuration.area_permille <= most * settings.area_limit_permille
        for size in sizing.by_kind.values()
    )


def _missing_gpus(outcome: Placed, model: InferenceModel, settings: Settings) -> int:
    """GPUs for what the model lacks, in as many replicas as it may have at the most."""
    fewest, most = model.spec.scaling.bounds
    placed = len(outcome.devices)
    for_area = ceil_div(outcome.missing_permille, settings.area_limit_permille)
    return min(most - placed, max(for_area, fewest - placed))


def _squeezed_in_words(squeezed: str, model: InferenceModel, missing: int) -> str:
    if not missing:
        most = model.spec.scaling.bounds[1]
        return f"{squeezed}; raise spec.scaling.maxReplicas, which is {most}"
    return f"{squeezed}; {counted(missing, 'more GPU')} would do"


def _closed_in_words(inventory: Inventory) -> str:
    """Why some GPUs take no new workers, to go after why the others do not."""
    reasons = dict.fromkeys(site.why for site in inventory.sites if site.why)
    return f" (not counting: {'; '.join(reasons)})" if reasons else ""


def _target(
    model: InferenceModel,
    device: GpuDevice,
    lanes: tuple[int, ...],
    size: Size,
    replicas: int,
    settings: Settings,
) -> Target:
    is_pool = device.tier.has_pools
    size = size_on_lanes(model, size, lanes) if is_pool else size
    return Target(
        name=_partition_name(model, device, lanes, settings),
        model=model,
        device=device,
        lanes=lanes,
        is_pool=is_pool,
        size=size,
        area_permille=ceil_div(size.configuration.area_permille, replicas),
    )


def _partition_name(
    model: InferenceModel, device: GpuDevice, lanes: tuple[int, ...], settings: Settings
) -> str:
    return partition_name(
        model.metadata.name,
        model.metadata.namespace,
        model.spec.model.uri,
        model.spec.model.format,
        device.uuid,
        device.tier,
        lanes,
        model.spec.max_batch,
        model.spec.gpu.memory_bytes,
        settings.worker_image,
    )
