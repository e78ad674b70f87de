"""Kneescale itself on a cluster: installed from its manifests, nothing else."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.kubectl import Kubectl
from e2e.demo.trace import DeviceTrace, parse_trace
from harness.checkout import ROOT

NAMESPACE = "kneescale-system"
OVERLAYS = {"cpu": "local", "emulated": "local-emulated"}
OPERATOR = "kneescale-operator"
AGENT = "kneescale-agent"
WORKLOADS = (f"deployment/{OPERATOR}", f"daemonset/{AGENT}")
ROLLOUT_TIMEOUT = "--timeout=180s"


def write_overlay(folder: Path, backend: str, images: Mapping[str, str], policy: str) -> None:
    """Write a kustomize overlay for a backend: the images (name: reference) and the scheduling policy."""
    base = ROOT / "manifests" / "overlays"
    folder.mkdir(parents=True, exist_ok=True)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(base / OVERLAYS[backend], folder)],
        "images": [_image(name, ref) for name, ref in images.items()],
        "patches": [{"patch": yaml.safe_dump(_scheduling_patch(policy))}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization, sort_keys=False))


def _image(name: str, ref: str) -> Mapping[str, str]:
    new_name, _, tag = ref.rpartition(":")
    return {"name": name, "newName": new_name, "newTag": tag}


def _scheduling_patch(policy: str) -> Mapping[str, Any]:
    container = {"name": "operator", "env": [{"name": "KNEESCALE_SCHEDULING", "value": policy}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": OPERATOR, "namespace": NAMESPACE},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


@dataclass(frozen=True, slots=True)
class Kneescale:
    """The operator and the agents, through kubectl."""

    kubectl: Kubectl

    def install(self, overlay: Path) -> None:
        """Apply an overlay and return once operator and agents run as it says."""
        self.kubectl.run("apply", f"--kustomize={overlay}")
        for workload in WORKLOADS:
            self._run("rollout", "status", workload, ROLLOUT_TIMEOUT)

    def traces(self, seconds: float) -> Sequence[DeviceTrace]:
        """Return the grants of the last seconds on every device, as the agents tell them."""
        return [trace for told in self.told(seconds) for trace in parse_trace(told)]

    def told(self, seconds: float) -> Sequence[Any]:
        """Return each agent's own words on the last seconds. Raises CommandError where one has none."""
        return [self.told_by(agent, seconds) for agent in self.agents()]

    def told_by(self, agent: Any, seconds: float) -> Any:  # noqa: ANN401
        """Return what an agent, by its pod, tells of the last seconds: GET /trace. Raises CommandError."""
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{agent['metadata']['name']}:9400/proxy/trace"
        return json.loads(self._run("get", f"--raw={path}?seconds={seconds:.0f}"))

    def agents(self) -> Sequence[Any]:
        """Return the agents' pods, by name. Raises CommandError."""
        found = self._run("get", "pods", f"--selector=app.kubernetes.io/name={AGENT}", "-o=json")
        return sorted(json.loads(found)["items"], key=lambda pod: str(pod["metadata"]["name"]))

    def agent_on(self, node: str) -> Any:  # noqa: ANN401
        """Return the agent's pod on a node. Raises CommandError."""
        where = ("--field-selector", f"spec.nodeName={node}")
        found = self._run("get", "pods", f"--selector=app.kubernetes.io/name={AGENT}", *where, "-o=json")
        (pod,) = json.loads(found)["items"]
        return pod

    def roll_out_agents(self, *change: str) -> None:
        """Have kubectl make a change, and return once the agents run as it says."""
        self._roll_out(f"daemonset/{AGENT}", *change)

    def restart_operator(self) -> None:
        """Return once another operator runs."""
        operator = f"deployment/{OPERATOR}"
        self._roll_out(operator, "rollout", "restart", operator)

    def _roll_out(self, workload: str, *change: str) -> None:
        self._run(*change)
        self._run("rollout", "status", workload, ROLLOUT_TIMEOUT)

    def explain(self) -> str:
        """Return the pods of the system and the latest lines of their logs."""
        parts = [self._run("get", "pods", "-o=wide"), self._run("events", "--types=Warning")]
        parts += [self._run("logs", workload, "--tail=10", "--prefix") for workload in WORKLOADS]
        return "\n".join(parts)

    def _run(self, *args: str) -> str:
        return self.kubectl.run(f"--namespace={NAMESPACE}", *args)
