"""Objects that the agent reads, as small as they can be."""

from collections.abc import Sequence
from typing import Any

from kneescale.agent.assignment import Assignment, assign
from kneescale.agent.claims import parse_allocated_claim
from kneescale.api.gpu_schedule import parse_gpu_schedule

NODE = "node1"
LANES = (10, 20, 50, 100)


def partition(name: str, **changes: object) -> dict[str, Any]:
    """A partition of a GPUSchedule: 2 ms a batch of one at 100 GPU%, in proportion to 1/p below."""
    surface = [
        {
            "gpuPercent": percent,
            "batch": batch,
            "latencyMicroseconds": 2_000 * (1 + batch // 8) * 100 // percent,
        }
        for percent in LANES
        for batch in (1, 8)
    ]
    plain = {
        "name": name,
        "namespace": "default",
        "model": "lite0",
        "role": "Serve",
        "sloMilliseconds": 100,
        "weight": 1,
        "gpuPercent": 50,
        "batch": 8,
        "lanes": list(LANES),
        "areaPermille": 100,
        "surface": surface,
    }
    return {**plain, **changes}


def schedule(
    partitions: Sequence[dict[str, Any]], *, device: str = "gpu0", policy: str = "SpatioTemporal"
) -> dict[str, Any]:
    """A GPUSchedule of one device of NODE."""
    return {
        "apiVersion": "kneescale.dev/v1alpha1",
        "kind": "GPUSchedule",
        "metadata": {"name": f"{NODE}-{device}", "generation": 1},
        "spec": {
            "nodeName": NODE,
            "device": device,
            "uuid": f"EMU-{NODE}-0",
            "productName": "V100-SXM2-16GB",
            "backend": "emulated",
            "tier": "green-contexts",
            "lanePercentStep": 10,
            "memoryBytes": 16 << 30,
            "clients": 48,
            "policy": policy,
            "partitions": list(partitions),
        },
    }


def assignment_of(*names: str, **changes: object) -> Assignment:
    """What a device's dispatcher is told of these partitions, whose claims are prepared."""
    spec = parse_gpu_schedule(schedule([partition(name, **changes) for name in names])).spec
    return assign(spec, [parse_allocated_claim(allocated_claim(name), NODE) for name in names])


def claim_uid(name: str) -> str:
    """The uid of the claim of that name."""
    return f"00000000-0000-4000-8000-{name.encode().hex()[:12]:0>12}"


def allocated_claim(
    name: str,
    *,
    device: str = "gpu0",
    lanes: Sequence[int] = LANES,
    driver: str = "gpu.kneescale.dev",
    pool: str = NODE,
) -> dict[str, Any]:
    """A ResourceClaim of partition `name`, allocated on a device of NODE."""
    parameters = {
        "apiVersion": "kneescale.dev/v1alpha1",
        "kind": "PartitionConfig",
        "partition": name,
    }
    result = {
        "driver": driver,
        "pool": pool,
        "device": device,
        "request": "gpu",
        "shareID": "5e1f1d0e-2c9f-4a43-9f5e-3a3f3c1f0a11",
    }
    opaque = {
        "driver": "gpu.kneescale.dev",
        "parameters": {**parameters, "lanes": list(lanes)},
    }
    return {
        "metadata": {"namespace": "default", "name": name, "uid": claim_uid(name)},
        "status": {
            "allocation": {
                "devices": {
                    "results": [result],
                    "config": [{"source": "FromClaim", "requests": ["gpu"], "opaque": opaque}],
                }
            }
        },
    }
