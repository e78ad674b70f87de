"""Nodes and models for tests of the plan."""

from kneescale.api.conditions import format_time
from kneescale.api.gpu_schedule import Policy
from kneescale.api.names import TAINT
from kneescale.core.tiers import Tier
from kneescale.plan.state import Manifest, Settings
from tests.plan.cluster_life import settle
from tests.plan.world import World

PRODUCT = "V100-SXM2-16GB"
#: A model that the catalogue does not know, so that nothing is known of it before it is measured.
UNHEARD_OF = {"uri": "catalog://unheard-of", "format": "Emulated"}


def emulated_world(
    nodes: int = 1,
    gpus: int = 2,
    policy: Policy = Policy.SPATIO_TEMPORAL,
    tier: Tier = Tier.GREEN_CONTEXTS,
) -> World:
    """A cluster of nodes with emulated GPUs and nothing on them."""
    world = World(Settings(worker_image="kneescale/worker:1", policy=policy))
    for number in range(1, nodes + 1):
        add_node(world, f"node{number}", gpus, tier)
    return world


def serving_world(*models: Manifest, gpus: int = 2) -> World:
    """A world in which the models serve, with no Event yet to be looked at."""
    world = emulated_world(gpus=gpus)
    for each in models:
        world.create(each)
    settle(world)
    world.events.clear()
    return world


def add_node(world: World, name: str, gpus: int, tier: Tier = Tier.GREEN_CONTEXTS) -> None:
    add_bare_node(world, name)
    devices = [emulated_device(name, index) for index in range(gpus)]
    for each in devices:
        each["attributes"]["tier"] = {"string": tier.value}
    world.create(resource_slice(name, devices))


def add_bare_node(world: World, name: str) -> None:
    """Add a node without a GPU."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}}
    world.create(node)["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}


def cordon(world: World, node: str) -> None:
    world.edit("Node", node, lambda spec: spec.update(unschedulable=True), namespace="")


def uncordon(world: World, node: str) -> None:
    world.edit("Node", node, lambda spec: spec.pop("unschedulable", None), namespace="")


def sicken(world: World, node: str) -> None:
    """Put the agent's taint on the node's first device."""
    taint = {"key": TAINT, "value": "Xid-79", "effect": "NoSchedule"}
    world.get("ResourceSlice", f"{node}-slice", "")["spec"]["devices"][0]["taints"] = [taint]


def cure(world: World, node: str) -> None:
    """Take the taint off it again."""
    world.get("ResourceSlice", f"{node}-slice", "")["spec"]["devices"][0].pop("taints", None)


def lose_node(world: World, node: str) -> None:
    """The control plane hears nothing of the node any more."""
    since = format_time(world.now)
    condition = {"type": "Ready", "status": "Unknown", "lastTransitionTime": since}
    world.get("Node", node, "")["status"] = {"conditions": [condition]}


def resource_slice(node: str, devices: list[Manifest]) -> Manifest:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{node}-slice"},
        "spec": {"driver": "gpu.kneescale.dev", "nodeName": node, "devices": devices},
    }


def emulated_device(node: str, index: int) -> Manifest:
    return device(f"gpu{index}", f"EMU-{node}-{index}", PRODUCT, "emulated", step=10, memory="16Gi")


def device(name: str, uuid: str, product: str, backend: str, step: int, memory: str) -> Manifest:
    return {
        "name": name,
        "allowMultipleAllocations": True,
        "attributes": {
            "uuid": {"string": uuid},
            "productName": {"string": product},
            "backend": {"string": backend},
            "tier": {"string": "green-contexts"},
            "lanePercentStep": {"int": step},
        },
        "capacity": {"memory": {"value": memory}, "clients": {"value": "48"}},
    }


def model(name: str, **spec: object) -> Manifest:
    """An InferenceModel of the catalogue as the API server stores it."""
    whole: Manifest = {
        "model": {"uri": f"catalog://{name}", "format": "Emulated"},
        "slo": {"latencyMilliseconds": 100, "percentile": 99},
        "expectedRequestsPerSecond": 50,
        "scaling": {"minReplicas": 1, "maxReplicas": 1},
        "gpu": {"memory": "1Gi"},
        "weight": 1,
        "maxBatch": 16,
    }
    return {
        "apiVersion": "kneescale.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**whole, **spec},
    }


def expect_rate(world: World, name: str, rps: int) -> None:
    """Expect so many requests of a model per second from now on."""
    world.edit("InferenceModel", name, lambda spec: spec.update(expectedRequestsPerSecond=rps))


def profile_of(world: World) -> Manifest:
    """The only ModelProfile."""
    (profile,) = world.find("ModelProfile")
    return profile


def check_made_anew(world: World, pod: Manifest) -> None:
    """Another pod, and no other, has this one's name."""
    (again,) = world.find("Pod")
    assert again["metadata"]["name"] == pod["metadata"]["name"]
    assert again["metadata"]["uid"] != pod["metadata"]["uid"]


def device_of(obj: Manifest) -> str:
    """The uuid of the device that a pod, claim or Job is for; empty where it is for none yet."""
    return str(obj["metadata"].get("annotations", {}).get("kneescale.dev/device", ""))


def condition(obj: Manifest, kind: str) -> Manifest:
    found: list[Manifest] = [each for each in obj["status"]["conditions"] if each["type"] == kind]
    assert len(found) == 1
    return found[0]
