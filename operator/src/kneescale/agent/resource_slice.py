"""The node's ResourceSlice: published, and kept true whoever touches it."""

import logging
from threading import Event
from typing import Any

from kneescale.agent.backend import Backend, Device, GpuDetails
from kneescale.agent.cluster_api import ClusterApi, ClusterError, ConflictError, Manifest, NotFoundError
from kneescale.api.names import DRIVER, MANAGED_BY, MANAGED_BY_LABEL, TAINT
from kneescale.core.units import MIB

log = logging.getLogger(__name__)

_API_VERSION = "resource.k8s.io/v1"
#: The pool is this one slice; as long as it says otherwise, nothing can be allocated here.
_SLICE_COUNT = 1
#: The kubelet deletes the slice when it restarts; until the next look nothing can be allocated here.
_PERIOD_S = 5
#: A device that falls sick or goes is told after this long.
_GLANCE_S = 1.0


class SlicePublisher:
    """Makes the API server's ResourceSlice of this node and driver say what the backend has."""

    def __init__(self, api: ClusterApi, node_name: str, backend: Backend) -> None:
        self._api = api
        self._node_name = node_name
        self._backend = backend
        self._name = f"{node_name}-{DRIVER}"
        self._published: tuple[Device, ...] = ()

    def run(self, stop: Event) -> None:
        """Publish, and look again when the devices change and every few seconds, until `stop`."""
        while not stop.is_set():
            try:
                self.publish()
            except ClusterError as error:
                log.warning("the ResourceSlice is not published: %s", error)
            self._wait(stop)

    def _wait(self, stop: Event) -> None:
        for _ in range(_PERIOD_S):
            if stop.wait(_GLANCE_S) or self._backend.devices() != self._published:
                return

    def publish(self) -> None:
        """Create, correct or leave alone the slice, and delete others of this driver on this node.

        What was published stays until the devices are known. Raises ClusterError.
        """
        if not self._backend.knows_devices:
            return
        slices = [found for found in self._api.list_resource_slices(self._node_name) if _is_ours(found)]
        self._published = self._backend.devices()
        devices = [_render(device, self._backend.name) for device in self._published]
        for found in slices:
            if not self._is_the_one(found):
                self._delete(found["metadata"]["name"])
        current = next(filter(self._is_the_one, slices), None)
        if current is None:
            self._create(devices)
        elif _as_sent(current) != devices or current["spec"]["pool"]["resourceSliceCount"] != _SLICE_COUNT:
            self._replace(current, devices)

    def _is_the_one(self, manifest: Manifest) -> bool:
        """Whether it can be made true: no slice ever changes its pool."""
        return bool(
            manifest["metadata"]["name"] == self._name and manifest["spec"]["pool"]["name"] == self._node_name
        )

    def _create(self, devices: list[dict[str, Any]]) -> None:
        node = self._api.get_node(self._node_name)
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._node_name, "uid": node["metadata"]["uid"]}
        metadata = {
            "name": self._name,
            "labels": {MANAGED_BY_LABEL: MANAGED_BY},
            "ownerReferences": [owner],
        }
        try:
            self._api.create_resource_slice(self._manifest(metadata, 1, devices))
        except ConflictError:
            return  # somebody was faster; the next look compares
        log.info("published ResourceSlice %s with %d devices", self._name, len(devices))

    def _replace(self, current: Manifest, devices: list[dict[str, Any]]) -> None:
        generation = current["spec"]["pool"]["generation"] + 1
        try:
            self._api.replace_resource_slice(self._manifest(current["metadata"], generation, devices))
        except (ConflictError, NotFoundError):
            return  # it changed meanwhile; the next look compares
        log.info("corrected ResourceSlice %s, pool generation %d", self._name, generation)

    def _delete(self, name: str) -> None:
        try:
            self._api.delete_resource_slice(name)
        except NotFoundError:
            return
        log.info("deleted ResourceSlice %s, which this agent did not make", name)

    def _manifest(self, metadata: Manifest, generation: int, devices: list[dict[str, Any]]) -> Manifest:
        return {
            "apiVersion": _API_VERSION,
            "kind": "ResourceSlice",
            "metadata": metadata,
            "spec": {
                "driver": DRIVER,
                "nodeName": self._node_name,
                "pool": {
                    "name": self._node_name,
                    "generation": generation,
                    "resourceSliceCount": _SLICE_COUNT,
                },
                "devices": devices,
            },
        }


def _is_ours(manifest: Manifest) -> bool:
    return bool(manifest["spec"]["driver"] == DRIVER)


def _as_sent(manifest: Manifest) -> list[dict[str, Any]]:
    """The devices of a slice without what the API server adds: to a taint, the time that it came."""
    devices = []
    for device in manifest["spec"].get("devices") or ():
        taints = [
            {key: taint[key] for key in taint if key != "timeAdded"} for taint in device.get("taints") or ()
        ]
        devices.append({**device, "taints": taints} if taints else device)
    return devices


def _render(device: Device, backend: str) -> dict[str, Any]:
    """A device that many claims share, each consuming memory and one client (KEP-5075)."""
    attributes: dict[str, Any] = {
        "uuid": {"string": device.uuid},
        "productName": {"string": device.product_name},
        "backend": {"string": backend},
        "tier": {"string": device.tier.value},
        "lanePercentStep": {"int": device.lane_percent_step},
    }
    if device.sm_count:
        attributes["smCount"] = {"int": device.sm_count}
    if device.gpu is not None:
        attributes |= _render_details(device.gpu)
    rendered: dict[str, Any] = {
        "name": device.name,
        "attributes": attributes,
        "capacity": {
            "memory": _shared(_binary_quantity(device.memory_bytes), default="1Gi", step="1Mi"),
            "clients": _shared(str(device.clients), default="1", step="1"),
        },
        "allowMultipleAllocations": True,
    }
    if device.sickness:
        rendered["taints"] = [{"key": TAINT, "value": device.sickness, "effect": "NoSchedule"}]
    return rendered


def _render_details(gpu: GpuDetails) -> dict[str, Any]:
    return {
        "computeCapability": {"version": gpu.compute_capability},
        "driverVersion": {"version": gpu.driver_version},
        "cudaDriverVersion": {"version": gpu.cuda_driver_version},
        "mpsProtocol": {"int": gpu.mps_protocol},
        "mpsStaticPartitions": {"bool": gpu.static_partitions},
    }


def _shared(value: str, *, default: str, step: str) -> dict[str, Any]:
    policy = {"default": default, "validRange": {"min": step, "step": step}}
    return {"value": value, "requestPolicy": policy}


def _binary_quantity(value: int) -> str:
    """Whole Mi in the canonical form in which the API server gives it back ("16Gi", "24001Mi")."""
    mebibytes = value // MIB
    for unit in ("Mi", "Gi", "Ti"):
        if mebibytes % 1024:
            return f"{mebibytes}{unit}"
        mebibytes //= 1024
    return f"{mebibytes}Pi"
