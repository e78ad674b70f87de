"""The faults of the table in docs/failures.md that can be done to a running local cluster."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from e2e import mad_worker
from e2e.cluster.faults import Container, cut_off, reboot, restart_kubelet, without_control_plane
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.cluster.node import Node
from e2e.demo.system import AGENT, NAMESPACE, OPERATOR
from e2e.gpus import CONTEXTS_LOST, Gpu
from e2e.shop import Shop
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


class Blow(NamedTuple):
    """A fault that is about to happen: `strike` returns once it is over, and may fail half-way."""

    victim: Victim
    strike: Callable[[], object]


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


def _kill_worker(world: World, draw: float) -> Blow:
    pod = world.worker(draw)
    return Blow(_worker(pod), Container.of(world.cluster, pod).kill)


def _hang_worker(world: World, draw: float) -> Blow:
    pod = world.worker(draw)
    return Blow(_worker(pod), Container.of(world.cluster, pod).freeze)


def _starve_worker(world: World, draw: float) -> Blow:
    pod = world.worker(draw)
    container = Container.of(world.cluster, pod)

    def strike() -> None:
        container.use_up_memory(world.kubectl, pod)
        wait_until(lambda: not container.exists, f"{_name(pod)} ends without memory", STARVED_S)

    return Blow(_worker(pod), strike)


def _madden_worker(world: World, draw: float) -> Blow:
    pod = world.worker(draw)
    mad = ("exec", _name(pod), "--", "python", "-c", mad_worker.SOURCE)
    return Blow(_worker(pod), lambda: world.shop.run(*mad))


def _delete_worker(world: World, draw: float) -> Blow:
    pod = world.worker(draw)
    return Blow(_worker(pod), lambda: world.shop.run("delete", "pod", _name(pod), "--wait=false"))


def _lose_contexts(world: World, draw: float) -> Blow:
    gpu = Gpu.of(world.cluster, world.shop, _name(world.worker(draw)))
    workers = [pod for pod in world.workers() if Gpu.of(world.cluster, world.shop, _name(pod)) == gpu]
    containers = [Container.of(world.cluster, pod) for pod in workers]

    def strike() -> None:
        with gpu.ailing(CONTEXTS_LOST):
            wait_until(lambda: not any(each.exists for each in containers), "its workers have ended", LOST_S)

    models = frozenset(map(_model, workers))
    return Blow(Victim(f"{gpu.node.name} {gpu.name}", models, gpu.node.name), strike)


def _kill_agent(world: World, draw: float) -> Blow:
    pod = world.system_pod(AGENT, draw)
    return Blow(Victim(str(pod["spec"]["nodeName"])), Container.of(world.cluster, pod).kill)


def _hang_agent(world: World, draw: float) -> Blow:
    pod = world.system_pod(AGENT, draw)
    node = str(pod["spec"]["nodeName"])
    return Blow(Victim(node, world.models_on(node), node), Container.of(world.cluster, pod).freeze)


def _kill_operator(world: World, draw: float) -> Blow:
    return Blow(Victim(""), Container.of(world.cluster, world.system_pod(OPERATOR, draw)).kill)


def _restart_kubelet(world: World, draw: float) -> Blow:
    node = world.node(draw)
    return Blow(Victim(node.name, node=node.name), lambda: restart_kubelet(world.cluster, node))


def _take_control_plane(world: World, _: float) -> Blow:
    def strike() -> None:
        with without_control_plane(world.cluster, world.kubectl):
            let_pass(CONTROL_PLANE_AWAY_S)

    return Blow(Victim(f"for {CONTROL_PLANE_AWAY_S:.0f} s"), strike)


def _cut_off(world: World, _: float) -> Blow:
    node = world.far_node

    def strike() -> None:
        with cut_off(world.cluster, node):
            let_pass(CUT_OFF_S)

    return Blow(Victim(f"{node.name} for {CUT_OFF_S:.0f} s", world.models_on(node.name), node.name), strike)


def _reboot(world: World, _: float) -> Blow:
    node = world.far_node
    victim = Victim(node.name, world.models_on(node.name), node.name)
    return Blow(victim, lambda: reboot(world.cluster, node))


def _contradict(world: World, draw: float) -> Blow:
    schedules = [(name, spec) for name, spec in world.shop.schedules().items() if spec["partitions"]]
    name, spec = _chosen(schedules, draw)
    twice = json.dumps({"spec": {"partitions": [*spec["partitions"], spec["partitions"][0]]}})
    patch = ("patch", "gpuschedule", name, "--type=merge", f"--patch={twice}")
    return Blow(Victim(name), lambda: world.shop.run(*patch))


def _worker(pod: Mapping[str, Any]) -> Victim:
    return Victim(_name(pod), frozenset({_model(pod)}), pod["spec"]["nodeName"])


def _model(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["labels"][MODEL_LABEL])


def _name(obj: Mapping[str, Any]) -> str:
    return str(obj["metadata"]["name"])


#: Those that end an agent, and with it what it knows of its grants; their victim's name is its node's.
ENDS_AGENT = frozenset({"agent killed", "agent hung", "node rebooted"})
#: Each chooses whom to strike; LookupError where there is no victim just now.
FAULTS: Mapping[str, Callable[[World, float], Blow]] = {
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
