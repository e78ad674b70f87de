"""Manifests of what runs a model: claims, worker pods, profiling Jobs, Services."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kneescale.api.footprint import ONE_PROCESS, Footprint
from kneescale.api.inference_model import InferenceModel
from kneescale.api.names import (
    API_VERSION,
    ATTEMPT_ANNOTATION,
    DEVICE_ANNOTATION,
    DRIVER,
    GROUP,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    MODEL_LABEL,
    PARTITION_LABEL,
    PREDICT,
    PROFILE_LABEL,
    ROLE_LABEL,
    SLICE_MANAGER_LABEL,
    WANT,
    WORKER_UID,
)
from kneescale.api.node import GPU_TAINT
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import Backend, ModelFormat, Role
from kneescale.plan.placing import Target
from kneescale.plan.prediction_jobs import PredictionRun
from kneescale.plan.profiling import Run
from kneescale.plan.state import Gate, Manifest, Settings

ENTRANCE_API_VERSION, ENTRANCE_KIND = "discovery.k8s.io/v1", "EndpointSlice"
HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002
_MODEL_DIR = "/model"
_GRACE_SECONDS = 30
#: By custom, what a Prometheus that looks for it scrapes without further ado.
_SCRAPED = {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT)}
#: A load that has not ended by then is one that hangs.
_LOADING_SECONDS = 600
#: For measuring: with starting and warming up a profile is to take a minute.
_PROFILE_SECONDS = 45
#: A Job that measures or predicts and has not ended by then, with all its tries, is one that hangs.
_JOB_DEADLINE_SECONDS = 180
#: A worker that measures loads and warms up beside workers that serve, whose work the GPU takes first then
#: (NVIDIA, Multi-Process Service, CUDA_MPS_CLIENT_PRIORITY: 0 is normal); its batches are alone anyway.
_BELOW_NORMAL_PRIORITY = {"name": "CUDA_MPS_CLIENT_PRIORITY", "value": "1"}
#: What an emulated worker needs of its host: it holds no weights.
_EMULATED_HOST_MEMORY = "128Mi"
#: Nothing of note is written there.
_SCRATCH = "64Mi"
#: A pod that asks for none weighs as 2m, a tenth of the agent or the operator beside it: answers, grants and
#: probes would wait whenever those are busy.
_HOST_CPU = "50m"


def serving_labels(model_name: str) -> dict[str, str]:
    """What a model's workers have in common and nothing else has: Services and autoscalers select by it."""
    return {MODEL_LABEL: model_name, ROLE_LABEL: Role.SERVE.value}


def render_partition(target: Target, settings: Settings) -> list[Manifest]:
    """The claim and the worker pod of a partition."""
    model, device = target.model, target.device
    metadata = _partition_metadata(target.name, model, device, Role.SERVE)
    # `kubectl drain` takes pods without a controller only by force.
    pod_metadata = metadata | {
        "ownerReferences": [model.owner.render_controller()],
        "annotations": metadata["annotations"] | _SCRAPED,
    }
    emulated = device.backend is Backend.EMULATED
    pod_spec = _pod_spec(target.name, model, settings.worker_image, target.footprint, emulated=emulated)
    pod_spec["restartPolicy"] = "Always"
    pod_spec["containers"][0] |= _serving_container()
    return [
        _claim(metadata, model, device, target.lanes, Role.SERVE, target.footprint),
        {"apiVersion": "v1", "kind": "Pod", "metadata": pod_metadata, "spec": pod_spec},
    ]


def render_profiling(run: Run, settings: Settings) -> list[Manifest]:
    """The claim and the Job that measure a model."""
    model, device = run.need.model, run.device
    metadata = _partition_metadata(run.job_name, model, device, Role.PROFILE)
    job_metadata = metadata | {
        "labels": metadata["labels"] | {PROFILE_LABEL: run.need.subject.profile_name},
        "annotations": metadata["annotations"] | {ATTEMPT_ANNOTATION: str(run.attempt)},
    }
    emulated = device.backend is Backend.EMULATED
    pod_spec = _pod_spec(run.job_name, model, settings.worker_image, ONE_PROCESS, emulated=emulated)
    pod_spec["restartPolicy"] = "Never"
    pod_spec["containers"][0] |= {"command": ["python", "-m", "kneescale_worker", "profile"]}
    if not emulated:
        _add_scratch(pod_spec)
    pod_spec["containers"][0]["env"].append(
        {"name": "KNEESCALE_PROFILE_SECONDS", "value": str(_PROFILE_SECONDS)}
    )
    if device.backend is Backend.CUDA_MPS:
        pod_spec["containers"][0]["env"].append(_BELOW_NORMAL_PRIORITY)
    job_spec = {
        "backoffLimit": 1,
        "activeDeadlineSeconds": _JOB_DEADLINE_SECONDS,
        "template": {"metadata": {"labels": metadata["labels"]}, "spec": pod_spec},
    }
    return [
        _claim(metadata, model, device, device.lanes, Role.PROFILE, ONE_PROCESS),
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": job_metadata, "spec": job_spec},
    ]


def render_prediction(run: PredictionRun, settings: Settings) -> Manifest:
    """The Job that predicts a model: it has no claim, and no GPU."""
    model, subject = run.need.model, run.need.subject
    labels = {ROLE_LABEL: PREDICT, PROFILE_LABEL: subject.profile_name}
    metadata = _metadata(run.job_name, model, labels)
    job_metadata = metadata | {"annotations": {ATTEMPT_ANNOTATION: str(run.attempt)}}
    pod_spec = _bare_pod_spec(model, settings.worker_image, model.spec.gpu.memory)
    pod_spec["restartPolicy"] = "Never"
    # It has the worker's image, which is large, or will need it.
    pod_spec["affinity"] = {"nodeAffinity": _nodes("In", [run.node])}
    arguments = {
        "product": subject.product_name,
        "lanes": ",".join(map(str, run.need.devices[0].lanes)),
        "max-batch": model.spec.max_batch,
    }
    options = [f"--{name}={value}" for name, value in arguments.items()]
    _add_scratch(pod_spec)
    container = pod_spec["containers"][0]
    container["command"] = ["python", "-m", "kneescale_worker", "predict", _MODEL_DIR, *options]
    # Where NVIDIA's runtime is the default one, it would give all GPUs to a pod without a claim.
    container["env"].append({"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"})
    job_spec = {
        "backoffLimit": 1,
        "activeDeadlineSeconds": _JOB_DEADLINE_SECONDS,
        "template": {"metadata": {"labels": metadata["labels"]}, "spec": pod_spec},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": job_metadata, "spec": job_spec}


def render_want(name: str, model: InferenceModel, settings: Settings, nodes: Sequence[str]) -> list[Manifest]:
    """A claim and a pod that stay pending until there is a GPU of another node than these for the model.

    They are for a cluster autoscaler to see; the worker that comes to the new GPU is planned as any other.
    """
    metadata = _metadata(name, model, {ROLE_LABEL: WANT})
    emulated = model.spec.model.format is ModelFormat.EMULATED
    pod_spec = _pod_spec(name, model, settings.worker_image, ONE_PROCESS, emulated=emulated)
    pod_spec["affinity"] = {"nodeAffinity": _nodes("NotIn", nodes)} if nodes else {}
    request = {
        "deviceClassName": DRIVER,
        "selectors": [{"cel": {"expression": _fitting(model)}}],
        "capacity": {"requests": {"memory": model.spec.gpu.memory, "clients": "1"}},
    }
    claim_spec = {"devices": {"requests": [{"name": "gpu", "exactly": request}]}}
    return [
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": metadata,
            "spec": claim_spec,
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec},
    ]


def _fitting(model: InferenceModel) -> str:
    """CEL: whether the model can run on a device, but for room."""
    attributes = f'device.attributes["{DRIVER}"]'
    sign = "==" if model.spec.model.format is ModelFormat.EMULATED else "!="
    fits = f'{attributes}.backend {sign} "{Backend.EMULATED}"'
    if model.spec.gpu.products:
        fits += f" && {attributes}.productName in {json.dumps(list(model.spec.gpu.products))}"
    return fits


def _nodes(operator: str, names: Sequence[str]) -> dict[str, Any]:
    """By name, which the label kubernetes.io/hostname need not have; a field takes one value at a time."""
    fields = [{"key": "metadata.name", "operator": operator, "values": [name]} for name in names]
    terms = {"nodeSelectorTerms": [{"matchFields": fields}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": terms}


def render_disruption_budget(model: InferenceModel, workers: int) -> Manifest:
    """Makes `kubectl drain` wait with an eviction until another worker serves in place of the evicted one.

    For pods of a controller that is not one of Kubernetes' own, only a number in `minAvailable` is allowed.
    """
    name = model.metadata.name
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(name, model, {}),
        "spec": {
            "minAvailable": workers,
            "selector": {"matchLabels": serving_labels(name)},
            # A worker that does not serve is no loss, and must not hold up a drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def render_service(model: InferenceModel) -> Manifest:
    """The Service in front of all of a model's workers."""
    name = model.metadata.name
    ports = [
        {"name": "http", "port": HTTP_PORT, "targetPort": "http", "appProtocol": "http"},
        {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(name, model, {}),
        "spec": {"selector": serving_labels(name), "ports": ports},
    }


def render_entrance(model: InferenceModel, gate: Gate) -> Manifest:
    """Leads the Service to where requests are held, beside the EndpointSlice that Kubernetes keeps for it."""
    name = model.metadata.name
    labels = {
        "kubernetes.io/service-name": name,
        # Else the controller of EndpointSlices takes it for one of its own, and deletes it.
        SLICE_MANAGER_LABEL: GROUP,
    }
    return {
        "apiVersion": ENTRANCE_API_VERSION,
        "kind": ENTRANCE_KIND,
        "metadata": _metadata(f"{name}-asleep", model, labels),
        "addressType": "IPv6" if ":" in gate.address else "IPv4",
        "ports": [
            {"name": "http", "port": gate.http_port, "protocol": "TCP"},
            {"name": "grpc", "port": gate.grpc_port, "protocol": "TCP"},
        ],
        "endpoints": [{"addresses": [gate.address], "conditions": {"ready": True}}],
    }


def _metadata(name: str, model: InferenceModel, labels: Mapping[str, str]) -> dict[str, Any]:
    ours = {MANAGED_BY_LABEL: MANAGED_BY, MODEL_LABEL: model.metadata.name}
    return {
        "name": name,
        "namespace": model.metadata.namespace,
        "labels": {**ours, **labels},
        "ownerReferences": [model.owner.render()],
    }


def _partition_metadata(name: str, model: InferenceModel, device: GpuDevice, role: Role) -> dict[str, Any]:
    labels = {PARTITION_LABEL: name, ROLE_LABEL: role.value}
    return _metadata(name, model, labels) | {"annotations": {DEVICE_ANNOTATION: device.uuid}}


def _claim(
    metadata: dict[str, Any],
    model: InferenceModel,
    device: GpuDevice,
    lanes: Sequence[int],
    role: Role,
    held: Footprint,
) -> Manifest:
    """A claim of what a worker takes of one device."""
    uuid = f'device.attributes["{DRIVER}"].uuid == "{device.uuid}"'
    request = {
        "deviceClassName": DRIVER,
        "selectors": [{"cel": {"expression": uuid}}],
        "capacity": {"requests": {"memory": _memory(model, held.copies), "clients": str(held.clients)}},
    }
    parameters = {
        "apiVersion": API_VERSION,
        "kind": "PartitionConfig",
        "partition": metadata["name"],
        "lanes": list(lanes),
        "role": role.value,
    }
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": metadata,
        "spec": {
            "devices": {
                "requests": [{"name": "gpu", "exactly": request}],
                "config": [{"requests": ["gpu"], "opaque": {"driver": DRIVER, "parameters": parameters}}],
            }
        },
    }


def _memory(model: InferenceModel, copies: int) -> str:
    """So many times the model's memory, as a quantity."""
    return model.spec.gpu.memory if copies == 1 else str(copies * model.spec.gpu.memory_bytes)


def _pod_spec(
    claim: str, model: InferenceModel, image: str, held: Footprint, *, emulated: bool
) -> dict[str, Any]:
    """What all pods of a model that want a GPU have in common."""
    memory = _EMULATED_HOST_MEMORY if emulated else _memory(model, held.processes)
    pod_spec = _bare_pod_spec(model, image, memory)
    pod_spec["resourceClaims"] = [{"name": "gpu", "resourceClaimName": claim}]
    pod_spec["containers"][0]["resources"]["claims"] = [{"name": "gpu"}]
    return pod_spec


def _bare_pod_spec(model: InferenceModel, image: str, memory: str) -> dict[str, Any]:
    """A worker's pod without a GPU."""
    volumes, mounts = _model_volume(model)
    container = {
        "name": "worker",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": _model_env(model),
        "volumeMounts": mounts,
        "resources": {"requests": {"cpu": _HOST_CPU, "memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "containers": [container],
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


def _add_scratch(pod_spec: dict[str, Any]) -> None:
    """A folder to write to: without one torch shows no kernels, for it looks where to keep compiled ones."""
    pod_spec["volumes"].append({"name": "tmp", "emptyDir": {"sizeLimit": _SCRATCH}})
    pod_spec["containers"][0]["volumeMounts"].append({"name": "tmp", "mountPath": "/tmp"})


def _serving_container() -> dict[str, Any]:
    ports = {"http": HTTP_PORT, "grpc": GRPC_PORT, "metrics": METRICS_PORT}
    return {
        "command": ["python", "-m", "kneescale_worker", "serve"],
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        # Until the model is loaded: CUDA and torch may hold the interpreter for seconds while they start.
        "startupProbe": _probe("/v2/health/ready") | {"failureThreshold": _LOADING_SECONDS},
        "readinessProbe": _probe("/v2/health/ready") | {"timeoutSeconds": 2},
        # A worker that hangs keeps the connections that it has: 6 s of silence, and then no time to drain.
        # With 3 s a node that was starved of CPU lost its healthy workers, too.
        "livenessProbe": _probe("/v2/health/live")
        | {"failureThreshold": 6, "terminationGracePeriodSeconds": 1},
    }


def _probe(path: str) -> dict[str, Any]:
    """Asked every second, and answered within one unless that is overridden."""
    return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 1}


def _model_env(model: InferenceModel) -> list[dict[str, str]]:
    values = {
        "KNEESCALE_MODEL_NAME": model.metadata.name,
        "KNEESCALE_MODEL_URI": model.spec.model.uri,
        "KNEESCALE_MODEL_FORMAT": model.spec.model.format.value,
        "KNEESCALE_MAX_BATCH": str(model.spec.max_batch),
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def _model_volume(model: InferenceModel) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The pod's volume with the model, and its mount; none for a model of the catalogue."""
    scheme, _, rest = model.spec.model.uri.partition("://")
    mount: dict[str, Any] = {"name": "model", "mountPath": _MODEL_DIR, "readOnly": True}
    if scheme == "oci":
        image = {"reference": rest, "pullPolicy": "IfNotPresent"}
        return [{"name": "model", "image": image}], [mount]
    if scheme == "pvc":
        claim, _, path = rest.partition("/")
        source = {"claimName": claim, "readOnly": True}
        return [{"name": "model", "persistentVolumeClaim": source}], [mount | {"subPath": path}]
    return [], []
