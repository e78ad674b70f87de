"""The faults of the table in docs/failures.md that can be done to a running local cluster."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from e2e import mad_worker
from e2e.cluster.faults import Container, cut_off, reboot, restart_kubelet, without_control_plane
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.cluster.node import Node
from e2e.demo.system import AGENT, NAMESPACE, OPERATOR
from e2e.gpus import CONTEXTS_LOST, Gpu
from e2e.shop import Shop
from harness.runner import CommandError
from harness.wait import let_pass, wait_until
from kneescale.api.names import MODEL_LABEL

T = TypeVar("T")

CONTROL_PLANE_AWAY_S = 20.0
CUT_OFF_S = 15.0
#: By when a container without memory has ended.
STARVED_S = 10.0
#: By when the workers of a GPU whose contexts are lost have ended; a hung one only when its kubelet ends it.
LOST_S = 20.0


@dataclass(frozen=True, slots=True)
class Victim:
    """Whom a fault struck, the models that had a worker there, and the node if it was on one."""

    name: str
    models: frozenset[str] = frozenset()
    node: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """What can be struck."""

    cluster: LocalCluster
    kubectl: Kubectl
    shop: Shop

    def worker(self, draw: float) -> Any:  # noqa: ANN401
        """A worker's pod whose container runs."""
        return _chosen(self.workers(), draw)

    def workers(self) -> list[Any]:
        """The pods of all workers whose containers run."""
        return [pod for pod in self.shop.get("pods")["items"] if _runs(pod)]

    def system_pod(self, name: str, draw: float) -> Any:  # noqa: ANN401
        """A pod of the operator or of the agents."""
        where = (f"--namespace={NAMESPACE}", f"--selector=app.kubernetes.io/name={name}")
        pods = json.loads(self.kubectl.run(*where, "get", "pods", "-o=json"))["items"]
        return _chosen([pod for pod in pods if _runs(pod)], draw)

    def node(self, draw: float) -> Node:
        """A node."""
        return _chosen(self.cluster.nodes(), draw)

    def models_on(self, node: str) -> frozenset[str]:
        """The models that have a worker on a node."""
        pods = self.shop.get("pods")["items"]
        return frozenset(_model(pod) for pod in pods if pod["spec"].get("nodeName") == node)

    @property
    def far_node(self) -> Node:
        """A node whose kube-proxy the clients of this machine do not need."""
        return self.cluster.nodes()[-1]


def _chosen(things: Sequence[T], draw: float) -> T:
    if not things:
        raise LookupError("there is none just now")
    return things[int(draw * len(things))]


def _runs(pod: Mapping[str, Any]) -> bool:
    statuses = pod["status"].get("containerStatuses", [])
    return "deletionTimestamp" not in pod["metadata"] and any("running" in s["state"] for s in statuses)


def _kill_worker(world: World, draw: float) -> Victim:
    pod = world.worker(draw)
    Container.of(world.cluster, pod).kill()
    return _worker(pod)


def _hang_worker(world: World, draw: float) -> Victim:
    pod = world.worker(draw)
    Container.of(world.cluster, pod).freeze()
    return _worker(pod)


def _starve_worker(world: World, draw: float) -> Victim:
    pod = world.worker(draw)
    container = Container.of(world.cluster, pod)
    container.use_up_memory(world.kubectl, pod)
    wait_until(lambda: not container.exists, f"{_name(pod)} ends without memory", STARVED_S)
    return _worker(pod)


def _madden_worker(world: World, draw: float) -> Victim:
    pod = world.worker(draw)
    try:
        world.shop.run("exec", _name(pod), "--", "python", "-c", mad_worker.SOURCE)
    except CommandError as error:
        raise LookupError(str(error)) from error
    return _worker(pod)


def _delete_worker(world: World, draw: float) -> Victim:
    pod = world.worker(draw)
    world.shop.run("delete", "pod", _name(pod), "--wait=false")
    return _worker(pod)


def _lose_contexts(world: World, draw: float) -> Victim:
    gpu = Gpu.of(world.cluster, world.shop, _name(world.worker(draw)))
    workers = [pod for pod in world.workers() if Gpu.of(world.cluster, world.shop, _name(pod)) == gpu]
    containers = [Container.of(world.cluster, pod) for pod in workers]
    with gpu.ailing(CONTEXTS_LOST):
        wait_until(lambda: not any(each.exists for each in containers), "its workers have ended", LOST_S)
    return Victim(f"{gpu.node.name} {gpu.name}", frozenset(map(_model, workers)), gpu.node.name)


def _kill_agent(world: World, draw: float) -> Victim:
    pod = world.system_pod(AGENT, draw)
    Container.of(world.cluster, pod).kill()
    return Victim(str(pod["spec"]["nodeName"]))


def _hang_agent(world: World, draw: float) -> Victim:
    pod = world.system_pod(AGENT, draw)
    node = str(pod["spec"]["nodeName"])
    models = world.models_on(node)
    Container.of(world.cluster, pod).freeze()
    return Victim(node, models, node)


def _kill_operator(world: World, draw: float) -> Victim:
    Container.of(world.cluster, world.system_pod(OPERATOR, draw)).kill()
    return Victim("")


def _restart_kubelet(world: World, draw: float) -> Victim:
    node = world.node(draw)
    restart_kubelet(world.cluster, node)
    return Victim(node.name, node=node.name)


def _take_control_plane(world: World, _: float) -> Victim:
    with without_control_plane(world.cluster, world.kubectl):
        let_pass(CONTROL_PLANE_AWAY_S)
    return Victim(f"for {CONTROL_PLANE_AWAY_S:.0f} s")


def _cut_off(world: World, _: float) -> Victim:
    models = world.models_on(world.far_node.name)
    with cut_off(world.cluster, world.far_node):
        let_pass(CUT_OFF_S)
    return Victim(f"{world.far_node.name} for {CUT_OFF_S:.0f} s", models, world.far_node.name)


def _reboot(world: World, _: float) -> Victim:
    models = world.models_on(world.far_node.name)
    reboot(world.cluster, world.far_node)
    return Victim(world.far_node.name, models, world.far_node.name)


def _contradict(world: World, draw: float) -> Victim:
    schedules = [(name, spec) for name, spec in world.shop.schedules().items() if spec["partitions"]]
    name, spec = _chosen(schedules, draw)
    twice = json.dumps({"spec": {"partitions": [*spec["partitions"], spec["partitions"][0]]}})
    world.shop.run("patch", "gpuschedule", name, "--type=merge", f"--patch={twice}")
    return Victim(name)


def _worker(pod: Mapping[str, Any]) -> Victim:
    return Victim(_name(pod), frozenset({_model(pod)}), pod["spec"]["nodeName"])


def _model(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["labels"][MODEL_LABEL])


def _name(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"]["name"])


#: Those that end an agent, and with it what it knows of its grants.
ENDS_AGENT = frozenset({"agent killed", "agent hung", "node rebooted"})
#: What each does returns whom it struck, once it is over; LookupError where there is no victim just now.
FAULTS: Mapping[str, Callable[[World, float], Victim]] = {
    "worker killed": _kill_worker,
    "worker hung": _hang_worker,
    "worker out of memory": _starve_worker,
    "worker gone mad": _madden_worker,
    "worker deleted": _delete_worker,
    "contexts lost": _lose_contexts,
    "agent killed": _kill_agent,
    "agent hung": _hang_agent,
    "operator killed": _kill_operator,
    "kubelet restarted": _restart_kubelet,
    "control plane away": _take_control_plane,
    "node cut off": _cut_off,
    "node rebooted": _reboot,
    "schedule contradicts itself": _contradict,
}
