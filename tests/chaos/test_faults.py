"""Faults of chaos that need no cluster to be seen at work."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from e2e.chaos import faults
from e2e.chaos.account import EXPLAINS_FOR_S
from e2e.chaos.faults import FAULTS, World
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.gpus import FAULTS as GPU_FAULTS
from e2e.shop import Shop
from kneescale.api.names import MODEL_LABEL

#: The GPU of each model's one worker.
PLACED = {"vgg19": "gpu0", "resnet50": "gpu1", "mobilenet-v2": "gpu1"}


@dataclass(frozen=True)
class OneNode:
    """A node whose files are below a folder."""

    root: Path
    name: str = "node1"

    def seen(self, path: str) -> Path:
        return self.root / path.lstrip("/")


class Workers:
    """A shop with a worker of each model."""

    def get(self, kind: str, name: str = "") -> Any:  # noqa: ANN401
        if kind == "resourceclaim":
            result = {"pool": "node1", "device": PLACED[name]}
            return {"status": {"allocation": {"devices": {"results": [result]}}}}
        return {"items": [worker(model) for model in PLACED]}


def worker(model: str) -> dict[str, Any]:
    status = {"state": {"running": {}}, "containerID": f"containerd://{model}"}
    metadata = {"name": model, "labels": {MODEL_LABEL: model}}
    return {"metadata": metadata, "spec": {"nodeName": "node1"}, "status": {"containerStatuses": [status]}}


def test_lost_contexts_last_until_the_workers_of_that_gpu_have_ended_and_strike_their_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, looked_at, said = OneNode(tmp_path), [], []
    file = node.seen(GPU_FAULTS)
    file.parent.mkdir(parents=True)

    class Ending:
        """A container that ends once a fault is there."""

        def __init__(self, model: str) -> None:
            self.model = model

        @classmethod
        def of(cls, _: LocalCluster, pod: dict[str, Any]) -> "Ending":
            return cls(pod["metadata"]["name"])

        @property
        def exists(self) -> bool:
            looked_at.append(self.model)
            said.append(file.read_text())
            return False

    monkeypatch.setattr(faults, "Container", Ending)
    cluster = cast("LocalCluster", SimpleNamespace(nodes=lambda: [node]))
    world = World(cluster, cast("Kubectl", None), cast("Shop", Workers()))
    victim, strike = FAULTS["contexts lost"](world, 0.5)
    assert not file.exists()
    strike()
    assert (victim.name, victim.node) == ("node1 gpu1", "node1")
    assert victim.models == {"resnet50", "mobilenet-v2"} == set(looked_at)
    assert set(said) == {'{"gpu1": "contexts-lost"}'}
    assert not file.exists()


def test_only_faults_that_there_are_explain_anything() -> None:
    assert EXPLAINS_FOR_S.keys() <= FAULTS.keys()
