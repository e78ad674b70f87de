"""What each condition says, and when: one row a state."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from kneescale.plan.state import Manifest
from tests.plan.cluster import (
    PRODUCT,
    UNHEARD_OF,
    condition,
    device,
    emulated_world,
    model,
    resource_slice,
)
from tests.plan.cluster_life import agents_report, settle
from tests.plan.world import World

TORCH = {"uri": "oci://example.org/lite0:1", "format": "TorchScript"}


def one_core_world() -> World:
    world = emulated_world(nodes=0)
    world.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}})
    cpu = device("cpu0", "CPU-node1", "CPU-1x-epyc", "cpu", step=100, memory="16Gi")
    world.create(resource_slice("node1", [cpu]))
    return world


def settled(world: World, *models: Manifest) -> World:
    for each in models:
        world.create(each)
    settle(world)
    return world


@pytest.mark.parametrize(
    ("world", "spec", "kind", "reason", "message"),
    [
        (
            lambda: emulated_world(nodes=0),
            {},
            "Placed",
            "NoGPUs",
            "no node publishes a GPU; check that the Kneescale agent runs on the GPU nodes",
        ),
        (
            emulated_world,
            {"model": TORCH},
            "Accepted",
            "WrongBackend",
            "oci://example.org/lite0:1 of format TorchScript does not run on the emulated backend",
        ),
        (
            one_core_world,
            {},
            "Accepted",
            "WrongBackend",
            "catalog://resnet50 of format Emulated does not run on the cpu backend",
        ),
        (
            emulated_world,
            {"gpu": {"products": ["A100", "H100"], "memory": "1Gi"}},
            "Placed",
            "NoMatchingGPU",
            f"no GPU of product A100 or H100; the cluster has {PRODUCT}",
        ),
        (
            one_core_world,
            {"model": TORCH, "overrides": {"gpuPercent": 40}},
            "Placed",
            "GPUPercentNotOffered",
            "spec.overrides.gpuPercent is 40; the GPUs here give multiples of 100",
        ),
        (
            emulated_world,
            {"slo": {"latencyMilliseconds": 5, "percentile": 99}},
            "Placed",
            "InfeasibleSLO",
            f"emulated {PRODUCT}: even batch 1 at 100 GPU% takes 5 ms; the SLO of 5 ms allows 2.5 ms a batch",
        ),
        (
            emulated_world,
            {"model": UNHEARD_OF, "gpu": {"memory": "20Gi"}},
            "Profiled",
            "InsufficientMemory",
            "needs 20Gi of GPU memory to be measured; no GPU has it free",
        ),
    ],
)
def test_what_stands_against_a_model(
    world: Callable[[], World], spec: Manifest, kind: str, reason: str, message: str
) -> None:
    obj = settled(world(), model("resnet50", **spec)).get("InferenceModel", "resnet50")
    found = condition(obj, kind)
    assert (found["status"], found["reason"]) == ("False", reason)
    assert message in found["message"]
    assert obj["status"]["reason"] == found["message"]
    assert condition(obj, "Ready")["reason"] == "NotPlaced"


def test_what_is_said_when_all_is_well() -> None:
    obj = settled(emulated_world(), model("resnet50")).get("InferenceModel", "resnet50")
    said = {each["type"]: each["message"] for each in obj["status"]["conditions"]}
    assert said["Profiled"] == f"emulated {PRODUCT}: knee at 40 GPU%"
    assert said["Placed"].startswith("on node1/gpu0 at 40 GPU% with batches of ")
    assert said["Ready"] == obj["status"]["reason"] == "1 worker serves"
    assert obj["status"]["url"] == "http://resnet50.default.svc:8000"
    assert obj["status"]["selector"] == "kneescale.dev/model=resnet50,kneescale.dev/role=Serve"


def test_a_one_core_cpu_has_one_lane() -> None:
    world = settled(one_core_world(), model("lite0", model=TORCH))
    (schedule,) = world.find("GPUSchedule")
    (partition,) = schedule["spec"]["partitions"]
    assert (partition["lanes"], partition["gpuPercent"]) == ([100], 100)
    assert world.get("InferenceModel", "lite0")["status"]["backend"] == "cpu"


def measured(world: World, **numbers: int | str) -> Manifest:
    """The model's status after its agent measured something."""
    (pod,) = world.find("Pod")
    agents_report(world)
    for schedule in world.find("GPUSchedule"):
        for partition in schedule["status"]["partitions"]:
            assert partition["name"] == pod["metadata"]["name"]
            partition |= {"windowSeconds": 30, **numbers}
    world.reconcile()
    return world.get("InferenceModel", "resnet50")


def test_the_slo_is_met_or_missed_as_measured() -> None:
    world = settled(emulated_world(), model("resnet50"))
    assert condition(world.get("InferenceModel", "resnet50"), "SLOMet")["status"] == "Unknown"

    counts = {"requests": 1000, "answered": 1000, "withinSLO": 998}
    good = measured(world, **counts, requestsPerSecond="33.3", p99Milliseconds=80)
    met = condition(good, "SLOMet")
    assert (met["status"], met["reason"]) == ("True", "SLOMet")
    assert met["message"] == (
        "99.8 % of 1000 requests in the last 30 s were answered within 100 ms; 99 % asked"
    )
    assert good["status"]["measured"] == {
        "requestsPerSecond": "33.3",
        "windowSeconds": 30,
        "p99Milliseconds": 80,
        "attainmentPercent": "99.8",
    }

    world.now += timedelta(minutes=1)
    bad = measured(world, requests=1000, answered=930, withinSLO=900, failed=70)
    missed = condition(bad, "SLOMet")
    assert (missed["status"], missed["reason"]) == ("False", "SLOMissed")
    assert missed["message"].endswith("99 % asked; 70 were refused or failed")
    assert missed["lastTransitionTime"] == "2026-01-01T00:01:00Z"
    assert [event.type for event in world.events if event.reason == "SLOMissed"] == ["Warning"]


def test_one_miss_of_a_few_requests_may_be_chance() -> None:
    world = settled(emulated_world(), model("resnet50"))
    lucky = measured(world, requests=30, answered=30, withinSLO=29)
    assert condition(lucky, "SLOMet")["status"] == "True"
    assert condition(lucky, "SLOMet")["message"].endswith("99 % asked; that may be chance")
    assert not [event for event in world.events if event.reason == "SLOMissed"]


def test_what_a_worker_cannot_have_answered_is_not_counted() -> None:
    world = settled(emulated_world(), model("resnet50"))
    mad = measured(world, requests=10, answered=10, withinSLO=5000)
    assert condition(mad, "SLOMet")["status"] == "Unknown"


def test_what_a_silent_agent_said_is_not_counted() -> None:
    world = settled(emulated_world(), model("resnet50"))
    bad = measured(world, requests=1000, answered=1000, withinSLO=900)
    assert condition(bad, "SLOMet")["status"] == "False"
    world.now += timedelta(minutes=1)
    world.reconcile()
    assert condition(world.get("InferenceModel", "resnet50"), "SLOMet")["status"] == "Unknown"


def test_what_could_not_be_written_is_said() -> None:
    world = settled(emulated_world(), model("resnet50"))
    world.apply_errors["default", "resnet50"] = "apply Service default/resnet50: forbidden"
    settle(world)
    ready = condition(world.get("InferenceModel", "resnet50"), "Ready")
    assert (ready["reason"], ready["message"]) == ("ApplyFailed", "apply Service default/resnet50: forbidden")


def test_a_spec_that_cannot_be_read_is_said_once_and_harms_no_other() -> None:
    world = settled(emulated_world(), model("resnet50"))
    world.create(model("broken", slo={"latencyMilliseconds": 0}))
    settle(world)
    broken = world.get("InferenceModel", "broken")
    accepted = condition(broken, "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "InvalidSpec")
    assert accepted["message"] == "spec.slo.latencyMilliseconds must be between 1 and 60000, not 0"
    assert condition(world.get("InferenceModel", "resnet50"), "Ready")["status"] == "True"
    world.now += timedelta(hours=1)
    agents_report(world)
    assert world.reconcile() == 0
