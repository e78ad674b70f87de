"""What the pods of a model's workers are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from kneescale.api.footprint import Footprint
from kneescale.api.inference_model import InferenceModel
from kneescale.api.names import WORKER_UID
from kneescale.api.node import GPU_TAINT
from kneescale.core import worker_variables
from kneescale.core.worker_pod import GRPC_PORT, HTTP_PORT, METRICS_PORT, MODEL_DIR
from kneescale.plan.manifests.claims import total_memory
from kneescale.plan.workloads import LOADING_SECONDS

_GRACE_SECONDS = 30
#: What an emulated worker needs of its host: it holds no weights.
_EMULATED_HOST_MEMORY = "128Mi"
#: Nothing of note is written there.
_SCRATCH = "64Mi"
#: A pod that asks for none weighs as 2m, a tenth of the agent or the operator beside it: answers, grants and
#: probes would wait whenever those are busy.
_HOST_CPU = "50m"


@dataclass(frozen=True, slots=True)
class Program:
    """What the one container of a worker's pod is for; without arguments, what its image says."""

    arguments: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    restart_policy: str = "Always"
    #: Whether it has a folder to write to: without one torch shows no kernels, for it looks where to keep
    #: compiled ones.
    has_scratch: bool = False
    #: What else the container has.
    container: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def serving() -> Program:
    """The program that serves a model."""
    ports = {"http": HTTP_PORT, "grpc": GRPC_PORT, "metrics": METRICS_PORT}
    container = {
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        # Until the model is loaded: CUDA and torch may hold the interpreter for seconds while they start.
        "startupProbe": _probe("/v2/health/ready") | {"failureThreshold": LOADING_SECONDS},
        "readinessProbe": _probe("/v2/health/ready") | {"timeoutSeconds": 2},
        # A worker that hangs keeps the connections that it has: 6 s of silence, and then no time to drain.
        # With 3 s a node that was starved of CPU lost its healthy workers, too.
        "livenessProbe": _probe("/v2/health/live")
        | {"failureThreshold": 6, "terminationGracePeriodSeconds": 1},
    }
    return Program(arguments=["serve"], container=container)


def render_gpu_pod_spec(
    claim: str, model: InferenceModel, image: str, held: Footprint, program: Program, *, emulated: bool
) -> dict[str, Any]:
    """The pod of a worker that has a GPU by this claim."""
    memory = _EMULATED_HOST_MEMORY if emulated else total_memory(model, held.processes)
    pod_spec = render_pod_spec(model, image, memory, program)
    pod_spec["resourceClaims"] = [{"name": "gpu", "resourceClaimName": claim}]
    pod_spec["containers"][0]["resources"]["claims"] = [{"name": "gpu"}]
    return pod_spec


def render_pod_spec(model: InferenceModel, image: str, memory: str, program: Program) -> dict[str, Any]:
    """A worker's pod without a GPU."""
    volumes, mounts = _model_volume(model)
    if program.has_scratch:
        volumes = [*volumes, {"name": "tmp", "emptyDir": {"sizeLimit": _SCRATCH}}]
        mounts = [*mounts, {"name": "tmp", "mountPath": "/tmp"}]
    container = {
        "name": "worker",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": _env(model, program.env),
        "volumeMounts": mounts,
        "resources": {"requests": {"cpu": _HOST_CPU, "memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **program.container,
    }
    if program.arguments:
        container["command"] = ["python", "-m", "kneescale_worker", *program.arguments]
    return {
        "containers": [container],
        "restartPolicy": program.restart_policy,
        "volumes": volumes,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "tolerations": [{"key": GPU_TAINT, "operator": "Exists"}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": WORKER_UID,
            "runAsGroup": WORKER_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _probe(path: str) -> dict[str, Any]:
    """Asked every second, and answered within one unless that is overridden."""
    return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 1}


def _env(model: InferenceModel, more: Mapping[str, str]) -> list[dict[str, str]]:
    values = {
        worker_variables.MODEL_NAME: model.metadata.name,
        worker_variables.MODEL_URI: model.spec.model.uri,
        worker_variables.MODEL_FORMAT: model.spec.model.format.value,
        worker_variables.MAX_BATCH: str(model.spec.max_batch),
        **more,
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def _model_volume(model: InferenceModel) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pod's volume with the model, and its mount; none for a model of the catalogue."""
    scheme, _, rest = model.spec.model.uri.partition("://")
    mount: dict[str, Any] = {"name": "model", "mountPath": MODEL_DIR, "readOnly": True}
    if scheme == "oci":
        image = {"reference": rest, "pullPolicy": "IfNotPresent"}
        return [{"name": "model", "image": image}], [mount]
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        source = {"claimName": claim, "readOnly": True}
        return [{"name": "model", "persistentVolumeClaim": source}], [mount | {"subPath": path}]
    return [], []
