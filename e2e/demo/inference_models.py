"""The demo's InferenceModels: their manifests, and how they fare on the cluster."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.kubectl import Kubectl

NAMESPACE = "kneescale-demo"
KIND = "inferencemodels.kneescale.dev"
MANIFESTS = Path(__file__).parent / "models"
OCI = "oci://"


@dataclass(frozen=True, slots=True)
class DemoModel:
    """One InferenceModel as its manifest has it."""

    name: str
    slo_ms: int
    rate_rps: float
    manifest: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Placement:
    """What Kneescale decided for a model: GPU%, batch, and where it runs (several places comma-separated)."""

    gpu_percent: int
    batch: int
    node: str
    device: str


def load_models(backend: str, images: Mapping[str, str]) -> Sequence[DemoModel]:
    """Read the manifests for a backend; `images` has the reference of each model image that they name."""
    return [
        _model(yaml.safe_load(path.read_text()), images) for path in sorted((MANIFESTS / backend).iterdir())
    ]


def _model(manifest: dict[str, Any], images: Mapping[str, str]) -> DemoModel:
    spec = manifest["spec"]
    uri: str = spec["model"]["uri"]
    if uri.startswith(OCI):
        spec["model"]["uri"] = OCI + images[uri.removeprefix(OCI)]
    manifest["metadata"]["namespace"] = NAMESPACE
    return DemoModel(
        name=manifest["metadata"]["name"],
        slo_ms=spec["slo"]["latencyMilliseconds"],
        rate_rps=spec["expectedRequestsPerSecond"],
        manifest=manifest,
    )


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

    def apply(self, models: Sequence[DemoModel], folder: Path) -> None:
        """Write the manifests to `folder` and apply them."""
        folder.mkdir(parents=True, exist_ok=True)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        file = folder / "models.yaml"
        file.write_text(yaml.safe_dump_all([namespace, *(m.manifest for m in models)], sort_keys=False))
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
