"""A real model is predicted for a GPU by a Job that reads its kernels, which needs no GPU."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.cluster.base import Cluster
from e2e.cluster.kubectl import Kubectl
from e2e.demo.system import AGENT, Kneescale
from e2e.images import Images
from e2e.shop import Object, opened, real_model
from harness.wait import wait_until
from kneescale.api.names import DRIVER

pytestmark = pytest.mark.cluster

MODEL, NODE, PRODUCT = "silero-vad", "node2", "H100-SXM5-80GB"
GONE_S = 60.0
PREDICTED_S = 120.0


def test_a_job_reads_the_kernels_of_a_real_model_and_predicts_it(
    kubectl: Kubectl, cluster: Cluster, images: Images, tmp_path: Path
) -> None:
    image = cluster.image_ref(images.models[MODEL].ref)
    with opened(kubectl, tmp_path) as shop, a_gpu_that_is_only_said(kubectl, tmp_path):
        shop.apply(real_model(MODEL, image, gpu={"products": [PRODUCT]}, maxBatch=2))
        wait_until(
            lambda: (
                [profile["spec"]["source"] for profile in shop.get("modelprofiles")["items"]] == ["Predicted"]
            ),
            "the profile is predicted",
            PREDICTED_S,
        )
        (profile,) = shop.get("modelprofiles")["items"]
        shop.run("delete", "inferencemodel", MODEL, "--timeout=60s")
    latency_us = {
        (point["gpuPercent"], point["batch"]): point["latencyMicroseconds"]
        for point in profile["spec"]["points"]
    }
    assert profile["spec"]["productName"] == PRODUCT
    # Each of some hundred small kernels takes 20 us to launch, for two seconds of sound as for one.
    assert 500 < latency_us[100, 1] <= latency_us[100, 2] < 20_000
    assert latency_us[10, 2] >= latency_us[100, 2]


@contextmanager
def a_gpu_that_is_only_said(kubectl: Kubectl, folder: Path) -> Iterator[None]:
    """A GPU in a ResourceSlice of a node, without an agent there that would know better."""
    with _no_agent_on_node(kubectl):
        file = folder / "slice.json"
        file.write_text(json.dumps(_slice()))
        kubectl.run("create", f"--filename={file}")
        try:
            yield
        finally:
            kubectl.run("delete", f"--filename={file}")


@contextmanager
def _no_agent_on_node(kubectl: Kubectl) -> Iterator[None]:
    kneescale = Kneescale(kubectl)
    elsewhere = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [NODE]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [elsewhere]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    patch = json.dumps({"spec": {"template": {"spec": {"affinity": affinity}}}})
    kneescale.roll_out_agents("patch", "daemonset", AGENT, f"--patch={patch}")
    try:
        wait_until(lambda: not _slices(kubectl), f"nobody publishes GPUs of {NODE}", GONE_S)
        yield
    finally:
        kneescale.roll_out_agents("rollout", "undo", f"daemonset/{AGENT}")


def _slices(kubectl: Kubectl) -> list[Object]:
    found = json.loads(kubectl.run("get", "resourceslices", "--output=json"))["items"]
    return [each for each in found if each["spec"]["driver"] == DRIVER and each["spec"]["nodeName"] == NODE]


def _slice() -> Object:
    attributes = {
        "uuid": {"string": "GPU-only-said"},
        "productName": {"string": PRODUCT},
        "backend": {"string": "cuda-mps"},
        "tier": {"string": "green-contexts"},
        "lanePercentStep": {"int": 10},
    }
    capacity = {"memory": {"value": "80Gi"}, "clients": {"value": "48"}}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": "only-said"},
        "spec": {
            "driver": DRIVER,
            "nodeName": NODE,
            "pool": {"name": NODE, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "gpu0", "attributes": attributes, "capacity": capacity}],
        },
    }
