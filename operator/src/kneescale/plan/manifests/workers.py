"""Manifests of what serves, measures and predicts a model, or asks for a GPU: pods, Jobs and their claims."""

from collections.abc import Mapping, Sequence
from typing import Any

from kneescale.api.footprint import ONE_PROCESS
from kneescale.api.inference_model import InferenceModel
from kneescale.api.names import (
    ATTEMPT_ANNOTATION,
    DEVICE_ANNOTATION,
    PARTITION_LABEL,
    PREDICT,
    PROFILE_LABEL,
    ROLE_LABEL,
    WANT,
)
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import Role
from kneescale.core.backends import Backend, ModelFormat
from kneescale.core.worker_pod import METRICS_PORT, MODEL_DIR
from kneescale.plan.manifests.claims import render_wanted_claim, render_worker_claim
from kneescale.plan.manifests.metadata import render_metadata
from kneescale.plan.manifests.pods import Program, render_gpu_pod_spec, render_pod_spec, serving
from kneescale.plan.placing import Target
from kneescale.plan.prediction_jobs import PredictionRun
from kneescale.plan.profiling import Run
from kneescale.plan.state import Manifest, Settings

#: By custom, what a Prometheus that looks for it scrapes without further ado.
_SCRAPED = {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS_PORT)}
#: A Job that measures or predicts and has not ended by then, with all its tries, is one that hangs.
_JOB_DEADLINE_SECONDS = 180
#: A worker that measures loads and warms up beside workers that serve, whose work the GPU takes first then
#: (NVIDIA, Multi-Process Service, CUDA_MPS_CLIENT_PRIORITY: 0 is normal); its batches are alone anyway.
_BELOW_NORMAL_PRIORITY = {"CUDA_MPS_CLIENT_PRIORITY": "1"}


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
    pod_spec = render_gpu_pod_spec(
        target.name, model, settings.worker_image, target.footprint, serving(), emulated=emulated
    )
    return [
        render_worker_claim(metadata, model, device, target.lanes, target.footprint),
        _pod(pod_metadata, pod_spec),
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
    pod_spec = render_gpu_pod_spec(
        run.job_name, model, settings.worker_image, ONE_PROCESS, _measuring(device), emulated=emulated
    )
    return [
        render_worker_claim(metadata, model, device, device.lanes, ONE_PROCESS),
        _job(job_metadata, metadata["labels"], pod_spec),
    ]


def _measuring(device: GpuDevice) -> Program:
    return Program(
        arguments=["profile"],
        env=_BELOW_NORMAL_PRIORITY if device.backend is Backend.CUDA_MPS else {},
        restart_policy="Never",
        has_scratch=device.backend is not Backend.EMULATED,
    )


def render_prediction(run: PredictionRun, settings: Settings) -> Manifest:
    """The Job that predicts a model: it has no claim, and no GPU."""
    model, subject = run.need.model, run.need.subject
    labels = {ROLE_LABEL: PREDICT, PROFILE_LABEL: subject.profile_name}
    metadata = render_metadata(run.job_name, model, labels)
    job_metadata = metadata | {"annotations": {ATTEMPT_ANNOTATION: str(run.attempt)}}
    pod_spec = render_pod_spec(model, settings.worker_image, model.spec.gpu.memory, _predicting(run))
    # It has the worker's image, which is large, or will need it.
    pod_spec["affinity"] = {"nodeAffinity": _nodes("In", [run.node])}
    return _job(job_metadata, metadata["labels"], pod_spec)


def _predicting(run: PredictionRun) -> Program:
    options = {
        "product": run.need.subject.product_name,
        "lanes": ",".join(map(str, run.need.devices[0].lanes)),
        "max-batch": run.need.model.spec.max_batch,
    }
    return Program(
        arguments=["predict", MODEL_DIR, *(f"--{name}={value}" for name, value in options.items())],
        # Where NVIDIA's runtime is the default one, it would give all GPUs to a pod without a claim.
        env={"NVIDIA_VISIBLE_DEVICES": "void"},
        restart_policy="Never",
        has_scratch=True,
    )


def render_want(name: str, model: InferenceModel, settings: Settings, nodes: Sequence[str]) -> list[Manifest]:
    """A claim and a pod that stay pending until there is a GPU of another node than these for the model.

    They are for a cluster autoscaler to see; the worker that comes to the new GPU is planned as any other.
    """
    metadata = render_metadata(name, model, {ROLE_LABEL: WANT})
    emulated = model.spec.model.format is ModelFormat.EMULATED
    pod_spec = render_gpu_pod_spec(
        name, model, settings.worker_image, ONE_PROCESS, Program(), emulated=emulated
    )
    pod_spec["affinity"] = {"nodeAffinity": _nodes("NotIn", nodes)} if nodes else {}
    return [render_wanted_claim(metadata, model), _pod(metadata, pod_spec)]


def _partition_metadata(name: str, model: InferenceModel, device: GpuDevice, role: Role) -> dict[str, Any]:
    labels = {PARTITION_LABEL: name, ROLE_LABEL: role.value}
    return render_metadata(name, model, labels) | {"annotations": {DEVICE_ANNOTATION: device.uuid}}


def _nodes(operator: str, names: Sequence[str]) -> dict[str, Any]:
    """By name, which the label kubernetes.io/hostname need not have; a field takes one value at a time."""
    fields = [{"key": "metadata.name", "operator": operator, "values": [name]} for name in names]
    terms = {"nodeSelectorTerms": [{"matchFields": fields}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": terms}


def _pod(metadata: Mapping[str, Any], pod_spec: Mapping[str, Any]) -> Manifest:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec}


def _job(metadata: Mapping[str, Any], labels: Mapping[str, str], pod_spec: Mapping[str, Any]) -> Manifest:
    job_spec = {
        "backoffLimit": 1,
        "activeDeadlineSeconds": _JOB_DEADLINE_SECONDS,
        "template": {"metadata": {"labels": labels}, "spec": pod_spec},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job_spec}
