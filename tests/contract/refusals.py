"""Resources that must be refused and what the refusal says, by the dataclasses and by the API server."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any


def inference_model(name: str = "lite0") -> dict[str, Any]:
    """A valid InferenceModel that uses every field of the spec."""
    return {
        "apiVersion": "kneescale.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "model": {"uri": "oci://example.org/lite0:1", "format": "TorchScript"},
            "slo": {"latencyMilliseconds": 50, "percentile": 99, "lateRequests": "Serve"},
            "expectedRequestsPerSecond": 10,
            "scaling": {"minReplicas": 1, "maxReplicas": 2, "replicas": 1},
            "gpu": {"products": ["V100-SXM2-16GB"], "memory": "2Gi"},
            "weight": 1,
            "maxBatch": 16,
            "overrides": {"gpuPercent": 40, "batch": 8},
        },
    }


def model_profile() -> dict[str, Any]:
    """A valid ModelProfile."""
    return {
        "apiVersion": "kneescale.dev/v1alpha1",
        "kind": "ModelProfile",
        "metadata": {"name": "lite0-v100", "namespace": "default"},
        "spec": {
            "modelURI": "oci://example.org/lite0:1",
            "format": "TorchScript",
            "productName": "V100-SXM2-16GB",
            "backend": "cpu",
            "points": [{"gpuPercent": 10, "batch": 1, "latencyMicroseconds": 9000}],
        },
    }


def gpu_schedule() -> dict[str, Any]:
    """A valid GPUSchedule with one partition."""
    return {
        "apiVersion": "kneescale.dev/v1alpha1",
        "kind": "GPUSchedule",
        "metadata": {"name": "node1-gpu0"},
        "spec": {
            "nodeName": "node1",
            "device": "gpu0",
            "uuid": "EMU-node1-0",
            "productName": "V100-SXM2-16GB",
            "backend": "emulated",
            "tier": "green-contexts",
            "lanePercentStep": 10,
            "memoryBytes": 17179869184,
            "clients": 48,
            "policy": "SpatioTemporal",
            "partitions": [
                {
                    "name": "lite0-0123abcd",
                    "namespace": "default",
                    "model": "lite0",
                    "role": "Serve",
                    "sloMilliseconds": 50,
                    "weight": 1,
                    "gpuPercent": 40,
                    "batch": 8,
                    "lanes": [20, 40],
                    "areaPermille": 120,
                    "surface": [{"gpuPercent": 40, "batch": 8, "latencyMicroseconds": 9000}],
                }
            ],
        },
    }


@dataclass(frozen=True, slots=True)
class Refusal:
    """A valid resource with one thing changed; `says` is in the error of both, or of the one it is for.

    Where the schema alone refuses (bounds, enums), the API server's wording is its own: `server_says`.
    """

    resource: dict[str, Any]
    path: tuple[str | int, ...]
    value: Any
    says: str
    server_says: str

    @property
    def obj(self) -> dict[str, Any]:
        """The resource with the change."""
        obj = deepcopy(self.resource)
        *parents, last = self.path
        target: Any = obj
        for key in parents:
            target = target[key]
        target[last] = self.value
        return obj

    def __str__(self) -> str:
        return f"{self.resource['kind']}-{'.'.join(map(str, self.path))}={str(self.value)[:24]}"


def _rule(resource: dict[str, Any], path: str, value: object, says: str) -> Refusal:
    return Refusal(resource, _keys(path), value, says, says)


def _schema(resource: dict[str, Any], path: str, value: object, says: str, server_says: str) -> Refusal:
    return Refusal(resource, _keys(path), value, says, server_says)


def _keys(path: str) -> tuple[str | int, ...]:
    return tuple(int(key) if key.isdigit() else key for key in path.split("."))


MODEL, PROFILE, SCHEDULE = inference_model(), model_profile(), gpu_schedule()

REFUSALS = [
    _rule(MODEL, "metadata.name", "m" * 51, "shorten it to 50"),
    _rule(MODEL, "metadata.name", "0model", "starting with a letter"),
    _rule(MODEL, "spec.model.uri", "s3://bucket/lite0", "must be oci://<image>, pvc://<claim>/<path> or"),
    _rule(MODEL, "spec.model.uri", "pvc://claim-only", "must be oci://<image>, pvc://<claim>/<path> or"),
    _rule(MODEL, "spec.model.uri", "catalog://resnet50", "goes with a catalog:// URI and with no other"),
    _rule(MODEL, "spec.model.format", "Emulated", "goes with a catalog:// URI and with no other"),
    _schema(MODEL, "spec.model.format", "ONNX", "one of TorchScript, Emulated", 'values: "TorchScript"'),
    _schema(MODEL, "spec.slo.latencyMilliseconds", 0, "between 1 and 60000", "greater than or equal to 1"),
    _schema(MODEL, "spec.slo.latencyMilliseconds", "50ms", "of type int", "must be of type integer"),
    _schema(MODEL, "spec.slo", {}, "latencyMilliseconds is missing", "latencyMilliseconds: Required value"),
    _schema(MODEL, "spec.slo.percentile", 100, "between 50 and 99", "less than or equal to 99"),
    _schema(MODEL, "spec.slo.lateRequests", "Drop", "one of Refuse, Serve", 'values: "Refuse", "Serve"'),
    _schema(MODEL, "spec.overrides.gpuPercent", 101, "between 1 and 100", "less than or equal to 100"),
    _schema(MODEL, "spec.maxBatch", 129, "between 1 and 128", "less than or equal to 128"),
    _schema(MODEL, "spec.weight", 0, "between 1 and 100", "greater than or equal to 1"),
    _schema(MODEL, "spec.gpu.products", ["a", "a"], "holds a twice", "Duplicate value"),
    _rule(MODEL, "spec.overrides.batch", 32, "spec.overrides.batch is "),
    _rule(MODEL, "spec.scaling.minReplicas", 3, "spec.scaling.minReplicas is "),
    _rule(MODEL, "spec.gpu.memory", "plenty", "quantity"),
    _rule(MODEL, "spec.gpu.memory", "0", "must be a positive quantity like 512Mi or 2Gi"),
    _rule(MODEL, "spec.gpu.memory", "8Ei", "must be less than 8Ei"),
    _rule(PROFILE, "spec.points", [], "spec.points must be there, unless spec.source is Pending"),
    _rule(PROFILE, "spec.source", "Pending", "spec.points must be there, unless spec.source is Pending"),
    _rule(PROFILE, "spec.source", "Predicted", "spec.expectedErrorPercent must be there if spec.source is "),
    _schema(PROFILE, "spec.points", PROFILE["spec"]["points"] * 2, "holds 10, 1 twice", "Duplicate value"),
    _schema(PROFILE, "spec.points.0.latencyMicroseconds", 0, "between 1 and", "greater than or equal to 1"),
    _schema(PROFILE, "spec.points.0.fitted", "yes", "of type bool", "must be of type boolean"),
    _schema(PROFILE, "spec.expectedErrorPercent", -1, "0 or more, not -1", "greater than or equal to 0"),
    _rule(SCHEDULE, "spec.partitions.0.gpuPercent", 30, "gpuPercent must be one of lanes"),
    _rule(SCHEDULE, "spec.partitions.0.surface", [], "a partition that serves needs a surface"),
    _schema(
        SCHEDULE,
        "spec.policy",
        "Fair",
        "one of SpatioTemporal, Temporal",
        'values: "SpatioTemporal"',
    ),
]
