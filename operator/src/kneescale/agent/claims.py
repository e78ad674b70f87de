"""Resource claims as this node needs them: what was allocated, and the folder of the grant socket."""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from kneescale.agent.backend import ContainerEdits, Device, Mount
from kneescale.api.codec import Items, JsonName, Range, Text, decode
from kneescale.api.names import DRIVER
from kneescale.api.quantity import parse_quantity
from kneescale.core import worker_variables
from kneescale.core.errors import InvalidInputError
from kneescale.core.units import WHOLE_GPU_PERCENT

_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_UID = r"^[0-9a-f]([-0-9a-f]*[0-9a-f])?$"
_SOCKET_NAME = "dispatcher.sock"
_CONTAINER_DIR = "/run/kneescale"

Name = Annotated[str, Text(253, 1, _NAME)]
Lanes = Annotated[tuple[Annotated[int, Range(1, WHOLE_GPU_PERCENT)], ...], Items(100, 1)]


@dataclass(frozen=True, slots=True)
class PreparedClaim:
    """One claim's share of one device of this node: whose partition it is, and the lanes it may use."""

    uid: Annotated[str, Text(64, 1, _UID)]
    namespace: Name
    name: Name
    request: str
    device: Name
    partition: Name
    lanes: Lanes
    share_id: str = ""
    #: What it was allocated; 0 where a checkpoint of before did not keep it.
    memory_bytes: Annotated[int, Range(0)] = 0
    #: Likewise; 1 where it was not kept.
    clients: Annotated[int, Range(1)] = 1

    @property
    def is_whole(self) -> bool:
        """Whether all is known that a worker is to get."""
        return self.memory_bytes > 0


@dataclass(frozen=True, slots=True)
class _PartitionConfig:
    """The claim's opaque parameters for this driver (kind PartitionConfig)."""

    partition: Name
    lanes: Lanes


@dataclass(frozen=True, slots=True)
class _Identity:
    """A claim's metadata."""

    uid: Annotated[str, Text(64, 1, _UID)]
    namespace: Name
    name: Name


@dataclass(frozen=True, slots=True)
class _Consumed:
    """What a claim consumes of a shared device (KEP-5075), as far as it matters here."""

    memory: str = "0"
    clients: str = "1"


@dataclass(frozen=True, slots=True)
class _Result:
    """One allocated device of a claim (DeviceRequestAllocationResult of resource.k8s.io/v1)."""

    driver: str
    pool: str
    request: str
    device: Name
    share_id: Annotated[str, Text(64), JsonName("shareID")] = ""
    consumed_capacity: _Consumed = field(default_factory=_Consumed)


def parse_allocated_claim(manifest: Mapping[str, Any], node_name: str) -> PreparedClaim:
    """The share of this node that a ResourceClaim was allocated.

    Raises InvalidInputError when it was allocated something else, or its configuration is wrong.
    """
    identity = decode(_Identity, manifest.get("metadata"), "metadata")
    label = f"ResourceClaim {identity.namespace}/{identity.name}"
    devices = manifest.get("status", {}).get("allocation", {}).get("devices", {})
    result = _only_result(devices.get("results", []), node_name, label)
    config = _config(devices.get("config", []), label)
    return PreparedClaim(
        uid=identity.uid,
        namespace=identity.namespace,
        name=identity.name,
        request=result.request,
        device=result.device,
        partition=config.partition,
        lanes=config.lanes,
        share_id=result.share_id,
        memory_bytes=parse_quantity(result.consumed_capacity.memory),
        clients=parse_quantity(result.consumed_capacity.clients),
    )


def _only_result(results: list[Any], node_name: str, label: str) -> _Result:
    ours = [result for result in results if result.get("driver") == DRIVER]
    if len(ours) != 1:
        raise InvalidInputError(f"{label} must be allocated one device of {DRIVER}, it has {len(ours)}")
    result = decode(_Result, ours[0], f"{label}: allocation")
    if result.pool != node_name:
        raise InvalidInputError(f"{label} is allocated on node {result.pool}, this is node {node_name}")
    return result


def _config(configs: list[Any], label: str) -> _PartitionConfig:
    opaque = [config["opaque"] for config in configs if "opaque" in config]
    parameters = [entry["parameters"] for entry in opaque if entry["driver"] == DRIVER]
    if len(parameters) != 1:
        raise InvalidInputError(f"{label} must have one config for driver {DRIVER}, it has {len(parameters)}")
    return decode(_PartitionConfig, parameters[0], f"{label}: config")


def check_lanes(partition: str, lanes: Iterable[int], device: Device) -> None:
    """Raise InvalidInputError when a lane of the partition is not one that its device has."""
    step = device.lane_percent_step
    wrong = [lane for lane in lanes if lane % step]
    if wrong:
        raise InvalidInputError(
            f"partition {partition} asks for a lane of {wrong[0]} GPU%; "
            f"lanes of {device.name} are multiples of {step}"
        )


class ClaimFolders:
    """The folders of prepared claims, each mounted into its worker; we alone write there, it alone enters.

    The folder, not the socket, is mounted: a restarted agent makes a new socket that the worker sees.
    They go to the worker by its group, whose number is its user's: an agent that is in that group needs no
    capability for it.
    """

    def __init__(self, claims_dir: Path, worker_uid: int) -> None:
        self._claims_dir = claims_dir
        self._worker_uid = worker_uid

    def socket_path(self, claim_uid: str) -> Path:
        """Where the agent listens for the claim's worker."""
        return self._claims_dir / claim_uid / _SOCKET_NAME

    def create(self, claim_uid: str) -> None:
        """Make the claim's folder, if it is not there, for the worker alone."""
        folder = self._claims_dir / claim_uid
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, -1, self._worker_uid)
        folder.chmod(0o710)

    def remove(self, claim_uid: str) -> None:
        """Remove the claim's folder, if it is there."""
        folder = self._claims_dir / claim_uid
        # First, for the dispatcher's thread takes it away too, and rmtree fails on a file that is gone.
        self.socket_path(claim_uid).unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)

    def container_edits(self, claim: PreparedClaim, backend_name: str, device: Device) -> ContainerEdits:
        """The mount of the folder, and the variables by which a worker knows its partition."""
        return ContainerEdits(
            env={
                worker_variables.SOCKET: f"{_CONTAINER_DIR}/{_SOCKET_NAME}",
                worker_variables.BACKEND: backend_name,
                worker_variables.DEVICE: device.name,
                worker_variables.PRODUCT: device.product_name,
                worker_variables.LANES: ",".join(map(str, sorted(claim.lanes))),
                worker_variables.TIER: device.tier.value,
                worker_variables.SM_COUNT: str(device.sm_count),
            },
            mounts=(Mount(str(self._claims_dir / claim.uid), _CONTAINER_DIR),),
        )
