"""Emulated GPUs of a local cluster: who has one, what an admin sees of it, and what may ail it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.cluster.node import Node
from e2e.shop import Shop
from kneescale.api.names import DRIVER

#: Faults as kneescale.agent.emulated_faults has them.
REMOVED, CONTEXTS_LOST = "removed", "contexts-lost"
FAULTS = "/var/lib/kneescale/emulated-faults.json"
CONDITION = "KneescaleGPUsReady"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device of a node."""

    node: Node
    name: str

    @classmethod
    def of(cls, cluster: LocalCluster, shop: Shop, worker: str) -> "Gpu":
        """The GPU that a worker's claim was given."""
        (result,) = shop.get("resourceclaim", worker)["status"]["allocation"]["devices"]["results"]
        (node,) = [node for node in cluster.nodes() if node.name == result["pool"]]
        return cls(node, result["device"])

    @contextmanager
    def ailing(self, fault: str) -> Iterator[None]:
        """Let this ail it, and no other GPU of its node anything, while the block runs."""
        with ailing(self.node, {self.name: fault}):
            yield

    def published(self, kubectl: Kubectl) -> Any:  # noqa: ANN401
        """The device as its node's ResourceSlice has it; None where it does not."""
        where = f"--field-selector=spec.driver={DRIVER},spec.nodeName={self.node.name}"
        slices = json.loads(kubectl.run("get", "resourceslices", where, "--output=json"))["items"]
        devices = [device for each in slices for device in each["spec"].get("devices") or ()]
        return next((device for device in devices if device["name"] == self.name), None)


@contextmanager
def ailing(node: Node, faults: Mapping[str, str]) -> Iterator[None]:
    """Let a node's GPUs have these faults while the block runs."""
    file = node.seen(FAULTS)
    # The agent may read at any time, and is not to find half of it.
    unfinished = file.with_suffix(".new")
    unfinished.write_text(json.dumps(faults))
    unfinished.replace(file)
    try:
        yield
    finally:
        file.unlink()


def gpus_ready(kubectl: Kubectl, node: Node) -> Mapping[str, str]:
    """The Node's condition that tells of its GPUs."""
    found = json.loads(kubectl.run("get", "node", node.name, "--output=json"))
    return next(each for each in found["status"]["conditions"] if each["type"] == CONDITION)


def told(kubectl: Kubectl, node: Node, reason: str) -> list[str]:
    """The notes of the Events of that reason on the Node, the latest one last."""
    events = json.loads(kubectl.run("get", "events.events.k8s.io", "--output=json"))["items"]
    about = [each for each in events if (each["regarding"]["name"], each["reason"]) == (node.name, reason)]
    return [each["note"] for each in sorted(about, key=lambda each: str(each["eventTime"]))]
