"""The demo's InferenceModels: their manifests, and how they fare on the cluster."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.kubectl import Kubectl
from e2e.demo.samples import EMULATED_ITEMS

NAMESPACE = "kneescale-demo"
KIND = "inferencemodels.kneescale.dev"
MANIFESTS = Path(__file__).parent / "models"


@dataclass(frozen=True, slots=True)
class DemoModel:
    """One InferenceModel as its manifest has it."""

    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name of the InferenceModel."""
        name: str = self.manifest["metadata"]["name"]
        return name

    @property
    def slo_ms(self) -> int:
        """The SLO's latency."""
        latency_ms: int = self.manifest["spec"]["slo"]["latencyMilliseconds"]
        return latency_ms

    @property
    def rate_rps(self) -> float:
        """The requests per second that make up the rate that the model is planned for, which counts items."""
        items_per_second: int = self.manifest["spec"]["expectedRequestsPerSecond"]
        is_emulated = self.manifest["spec"]["model"]["format"] == "Emulated"
        return items_per_second / (EMULATED_ITEMS if is_emulated else 1)

    @property
    def artefact(self) -> str | None:
        """The model image that it needs, named as in worker_image/models; None for a catalog model."""
        scheme, _, path = self.manifest["spec"]["model"]["uri"].partition("://")
        return path.rpartition("/")[2] if scheme == "oci" else None

    def on_cluster(self, artefacts: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the manifest for the demo's namespace, with the image's reference from `artefacts`."""
        spec, metadata = self.manifest["spec"], self.manifest["metadata"]
        if self.artefact:
            spec = {**spec, "model": {**spec["model"], "uri": f"oci://{artefacts[self.artefact]}"}}
        return {**self.manifest, "metadata": {**metadata, "namespace": NAMESPACE}, "spec": spec}


def demo_models(folder: str) -> Sequence[DemoModel]:
    """Return the demo's models for a backend, or for a scenario of its own, by name."""
    return [DemoModel(yaml.safe_load(path.read_text())) for path in sorted((MANIFESTS / folder).iterdir())]


@dataclass(frozen=True, slots=True)
class Placement:
    """What Kneescale decided for a model: GPU%, batch, and where it runs (several places comma-separated)."""

    gpu_percent: int
    batch: int
    node: str
    device: str


@dataclass(frozen=True, slots=True)
class ModelsOnCluster:
    """The demo's models, through kubectl, in a namespace of their own."""

    kubectl: Kubectl

    def keep_only(self, names: Sequence[str]) -> None:
        """Delete what another demo left in the namespace, and return once it is gone."""
        if not self.kubectl.run("get", "crd", KIND, "-o=name", "--ignore-not-found"):
            return
        listed = self._run("get", KIND, "-o=name").split()
        if stale := [item for item in listed if item.split("/")[1] not in names]:
            self._run("delete", *stale, "--timeout=120s")

    def apply(self, models: Sequence[DemoModel], artefacts: Mapping[str, str], file: Path) -> None:
        """Write the manifests to `file` and apply it; `artefacts` has the reference of each model image."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        manifests = [namespace, *(model.on_cluster(artefacts) for model in models)]
        file.write_text(yaml.safe_dump_all(manifests, sort_keys=False))
        self.kubectl.run("apply", f"--filename={file}")

    def unsettled(self, policy: str) -> str:
        """Return what is still under way; empty once all models serve and every schedule is in force."""
        models = json.loads(self._run("get", KIND, "-o=json"))["items"]
        waiting = [m["metadata"]["name"] for m in models if not holds(m, "Ready")]
        if waiting:
            return f"not Ready: {', '.join(waiting)}"
        for schedule in json.loads(self.kubectl.run("get", "gpuschedules.kneescale.dev", "-o=json"))["items"]:
            name, spec = schedule["metadata"]["name"], schedule["spec"]
            if spec["policy"] != policy or not holds(schedule, "Applied"):
                return f"GPUSchedule {name} is not applied yet under {policy}"
            if any(p["role"] == "Profile" for p in spec["partitions"]):
                return f"GPUSchedule {name} still has a profile to measure"
        return ""

    def placement(self, name: str) -> Placement:
        """Return what the model's status says of its configuration and placements."""
        status = json.loads(self._run("get", KIND, name, "-o=json"))["status"]
        places = status["placements"]
        return Placement(
            gpu_percent=status["gpuPercent"],
            batch=status["batch"],
            node=", ".join(p["node"] for p in places),
            device=", ".join(p["device"] for p in places),
        )

    def statuses(self) -> Mapping[str, Mapping[str, Any]]:
        """Return each model's status, by its name. Raises CommandError."""
        models = json.loads(self._run("get", KIND, "-o=json"))["items"]
        return {model["metadata"]["name"]: model.get("status", {}) for model in models}

    def overview(self, *options: str) -> str:
        """Return what kubectl get inferencemodels shows."""
        return self._run("get", KIND, *options)

    def explain(self) -> str:
        """Return conditions and Events of the models that are not Ready."""
        models = json.loads(self._run("get", KIND, "-o=json"))["items"]
        parts = [_conditions(model) for model in models if not holds(model, "Ready")]
        return "\n".join([*parts, self._run("events")])

    def _run(self, *args: str) -> str:
        return self.kubectl.run(f"--namespace={NAMESPACE}", *args)


def _conditions(model: Mapping[str, Any]) -> str:
    conditions = model.get("status", {}).get("conditions", [])
    lines = [f"  {c['type']}={c['status']} {c['reason']}: {c['message']}" for c in conditions]
    return "\n".join([f"{model['metadata']['name']}:", *lines])


def holds(resource: Mapping[str, Any], condition: str) -> bool:
    """Tell whether a resource's condition is True for its present generation."""
    generation = resource["metadata"]["generation"]
    return any(
        c["type"] == condition
        and c["status"] == "True"
        and c.get("observedGeneration", generation) == generation
        for c in resource.get("status", {}).get("conditions", [])
    )
