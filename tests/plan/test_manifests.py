"""The objects that run a model, as they are applied."""

import pytest

from kneescale.plan.state import Manifest
from tests.plan.cluster import add_bare_node, device, emulated_world, model, resource_slice
from tests.plan.cluster_life import settle


def manifests(**spec: object) -> dict[str, Manifest]:
    """The claim, pod, Service and so on of a model on a CPU node, by kind."""
    world = emulated_world(nodes=0)
    add_bare_node(world, "node1")
    cpu = device("cpu0", "CPU-node1", "CPU-2x-epyc", "cpu", step=50, memory="16Gi")
    world.create(resource_slice("node1", [cpu]))
    world.create(model("lite0", **spec))
    world.reconcile()
    (job,) = world.find("Job")
    settle(world)
    kinds = ("ResourceClaim", "Pod", "Service", "PodDisruptionBudget")
    return {"Job": job, **{kind: only for kind in kinds for only in world.find(kind)}}


def oci() -> Manifest:
    return {"uri": "oci://example.org/models/lite0:1", "format": "TorchScript"}


def env(obj: Manifest) -> dict[str, str]:
    pod_spec = obj["spec"]["template"]["spec"] if obj["kind"] == "Job" else obj["spec"]
    return {entry["name"]: entry["value"] for entry in pod_spec["containers"][0]["env"]}


def test_a_claim_asks_for_the_chosen_device_and_names_its_lanes() -> None:
    claim = manifests(model=oci(), gpu={"memory": "2Gi"})["ResourceClaim"]
    (request,) = claim["spec"]["devices"]["requests"]
    assert request["exactly"] == {
        "deviceClassName": "gpu.kneescale.dev",
        "selectors": [{"cel": {"expression": 'device.attributes["gpu.kneescale.dev"].uuid == "CPU-node1"'}}],
        "capacity": {"requests": {"memory": "2Gi", "clients": "1"}},
    }
    (config,) = claim["spec"]["devices"]["config"]
    assert config["opaque"] == {
        "driver": "gpu.kneescale.dev",
        "parameters": {
            "apiVersion": "kneescale.dev/v1alpha1",
            "kind": "PartitionConfig",
            "partition": claim["metadata"]["name"],
            "lanes": [50, 100],
        },
    }


def test_a_pod_holds_its_claim_and_knows_its_model() -> None:
    made = manifests(model=oci())
    pod, name = made["Pod"], made["ResourceClaim"]["metadata"]["name"]
    assert pod["metadata"]["name"] == name
    assert pod["spec"]["resourceClaims"] == [{"name": "gpu", "resourceClaimName": name}]
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["python", "-m", "kneescale_worker", "serve"]
    assert container["resources"] == {
        "claims": [{"name": "gpu"}],
        "requests": {"cpu": "50m", "memory": "1Gi"},
    }
    assert env(pod) == {
        "KNEESCALE_MODEL_NAME": "lite0",
        "KNEESCALE_MODEL_URI": "oci://example.org/models/lite0:1",
        "KNEESCALE_MODEL_FORMAT": "TorchScript",
        "KNEESCALE_MAX_BATCH": "16",
    }


def test_a_worker_that_hangs_is_ended_within_seconds_but_not_while_it_loads() -> None:
    (container,) = manifests(model=oci())["Pod"]["spec"]["containers"]
    starts, lives = container["startupProbe"], container["livenessProbe"]
    assert starts["httpGet"]["path"] == "/v2/health/ready"
    assert starts["periodSeconds"] * starts["failureThreshold"] == 600
    # The first question comes a period after the last answer, at the latest.
    noticed_s = lives["periodSeconds"] + lives["failureThreshold"] * lives["timeoutSeconds"]
    assert (noticed_s, lives["terminationGracePeriodSeconds"]) == (7, 1)


def test_pods_have_no_rights() -> None:
    made = manifests(model=oci())
    for spec in (made["Pod"]["spec"], made["Job"]["spec"]["template"]["spec"]):
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False


def test_the_service_selects_workers_and_no_profiling_pods() -> None:
    made = manifests(model=oci())
    selector = made["Service"]["spec"]["selector"]
    assert selector.items() <= made["Pod"]["metadata"]["labels"].items()
    profiling = made["Job"]["spec"]["template"]["metadata"]["labels"]
    assert not selector.items() <= profiling.items()


def test_a_profiling_job_ends_by_itself() -> None:
    job = manifests(model=oci())["Job"]
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (1, 180)
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["spec"]["template"]["spec"]["containers"][0]["command"][-1] == "profile"


@pytest.mark.parametrize(("backend", "priority"), [("cuda-mps", "1"), ("cpu", None)])
def test_a_job_that_measures_on_a_gpu_lets_workers_that_serve_go_first(
    backend: str, priority: str | None
) -> None:
    world = emulated_world(nodes=0)
    add_bare_node(world, "node1")
    world.create(resource_slice("node1", [device("gpu0", "GPU-1", "K80", backend, step=50, memory="16Gi")]))
    world.create(model("lite0", model=oci()))
    world.reconcile()
    (job,) = world.find("Job")
    assert env(job).get("CUDA_MPS_CLIENT_PRIORITY") == priority


def test_everything_is_owned_by_the_model() -> None:
    for kind, obj in manifests(model=oci()).items():
        (owner,) = obj["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("InferenceModel", "lite0"), kind


@pytest.mark.parametrize(
    ("uri", "volume", "mount"),
    [
        (
            "oci://example.org/models/lite0:1",
            {"image": {"reference": "example.org/models/lite0:1", "pullPolicy": "IfNotPresent"}},
            {},
        ),
        (
            "pvc://store/models/lite0",
            {"persistentVolumeClaim": {"claimName": "store", "readOnly": True}},
            {"subPath": "models/lite0"},
        ),
    ],
)
def test_the_model_is_mounted_read_only(uri: str, volume: Manifest, mount: Manifest) -> None:
    spec = manifests(model={"uri": uri, "format": "TorchScript"})["Pod"]["spec"]
    assert spec["volumes"] == [{"name": "model", **volume}]
    assert spec["containers"][0]["volumeMounts"] == [
        {"name": "model", "mountPath": "/model", "readOnly": True, **mount}
    ]


def test_an_emulated_model_has_no_files_and_asks_little_of_its_host() -> None:
    world = emulated_world()
    world.create(model("resnet50", gpu={"memory": "8Gi"}))
    settle(world)
    (pod,) = world.find("Pod")
    assert pod["spec"]["volumes"] == pod["spec"]["containers"][0]["volumeMounts"] == []
    assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "50m", "memory": "128Mi"}


def test_a_drain_takes_workers_without_force_and_waits_for_their_replacement() -> None:
    made = manifests(model=oci())
    (owner,) = made["Pod"]["metadata"]["ownerReferences"]
    assert owner["controller"] is True
    budget = made["PodDisruptionBudget"]["spec"]
    assert (budget["minAvailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    labels = made["Pod"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
