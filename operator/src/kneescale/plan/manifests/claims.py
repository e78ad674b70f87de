"""Manifests of ResourceClaims."""

import json
from collections.abc import Sequence
from typing import Any

from kneescale.api.footprint import Footprint
from kneescale.api.inference_model import InferenceModel
from kneescale.api.names import API_VERSION, DRIVER
from kneescale.api.resource_slice import GpuDevice
from kneescale.core.backends import Backend, ModelFormat
from kneescale.plan.state import Manifest

_ATTRIBUTES = f'device.attributes["{DRIVER}"]'


def render_worker_claim(
    metadata: dict[str, Any], model: InferenceModel, device: GpuDevice, lanes: Sequence[int], held: Footprint
) -> Manifest:
    """A claim of what a worker takes of one device."""
    parameters = {
        "apiVersion": API_VERSION,
        "kind": "PartitionConfig",
        "partition": metadata["name"],
        "lanes": list(lanes),
    }
    config = [{"requests": ["gpu"], "opaque": {"driver": DRIVER, "parameters": parameters}}]
    is_device = f'{_ATTRIBUTES}.uuid == "{device.uuid}"'
    claim = _claim(metadata, is_device, total_memory(model, held.copies), held.clients)
    claim["spec"]["devices"]["config"] = config
    return claim


def render_wanted_claim(metadata: dict[str, Any], model: InferenceModel) -> Manifest:
    """A claim of any device that the model can run on."""
    return _claim(metadata, _fitting(model), model.spec.gpu.memory, clients=1)


def total_memory(model: InferenceModel, copies: int) -> str:
    """So many times the model's memory, as a quantity."""
    return model.spec.gpu.memory if copies == 1 else str(copies * model.spec.gpu.memory_bytes)


def _claim(metadata: dict[str, Any], expression: str, memory: str, clients: int) -> Manifest:
    """A claim of memory and clients of a device for which the CEL expression holds."""
    request = {
        "deviceClassName": DRIVER,
        "selectors": [{"cel": {"expression": expression}}],
        "capacity": {"requests": {"memory": memory, "clients": str(clients)}},
    }
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": metadata,
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": request}]}},
    }


def _fitting(model: InferenceModel) -> str:
    """CEL: whether the model can run on a device, but for room."""
    sign = "==" if model.spec.model.format is ModelFormat.EMULATED else "!="
    fits = f'{_ATTRIBUTES}.backend {sign} "{Backend.EMULATED}"'
    if model.spec.gpu.products:
        fits += f" && {_ATTRIBUTES}.productName in {json.dumps(list(model.spec.gpu.products))}"
    return fits
