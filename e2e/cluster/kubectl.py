"""What every kind of cluster asks through kubectl."""

import json
from dataclasses import dataclass
from pathlib import Path

from harness.runner import CommandError, Runner


@dataclass(frozen=True, slots=True)
class Kubectl:
    """A kubectl program with the cluster that it talks to."""

    program: Path
    kubeconfig: Path
    runner: Runner

    def run(self, *args: str) -> str:
        """Run kubectl and return its output. Raises CommandError."""
        return self.runner.run([str(self.program), f"--kubeconfig={self.kubeconfig}", *args])

    def api_ready(self) -> bool:
        """Tell whether the API server answers that it is ready."""
        try:
            return self.run("get", "--raw=/readyz", "--request-timeout=2s") == "ok"
        except CommandError:
            return False

    def ready_nodes(self) -> list[str]:
        """Return the names of the nodes that are Ready; none if the API server does not answer."""
        try:
            nodes = json.loads(self.run("get", "nodes", "-o=json", "--request-timeout=5s"))["items"]
        except CommandError:
            return []
        return [node["metadata"]["name"] for node in nodes if _is_ready(node["status"])]

    def node_names(self) -> list[str]:
        """Return the names of all nodes. Raises CommandError."""
        return [line.removeprefix("node/") for line in self.run("get", "nodes", "-o=name").split()]

    def serves(self, kind: str) -> bool:
        """Tell whether the API server knows a kind, such as scaledobjects.keda.sh, and lists its objects.

        `kubectl wait` fails on a CRD that is so new that it has no conditions.
        """
        try:
            self.run("get", kind, "--all-namespaces", "--request-timeout=5s")
        except CommandError:
            return False
        return True

    def server_version(self) -> str:
        """Return the API server's version. Raises CommandError."""
        version: str = json.loads(self.run("version", "-o=json"))["serverVersion"]["gitVersion"]
        return version


def _is_ready(status: dict[str, list[dict[str, str]]]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
