"""What can go wrong with a local cluster, done on purpose: to nodes, control plane and containers."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster.control_plane import GROUP
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.cluster.node import SHORT_BACK_OFF, USUAL_BACK_OFF, Node
from harness.runner import CommandError
from harness.wait import wait_until
from kneescale.core.units import MIB

#: The most memory of a control group, and what it uses now: cgroup v1, v2.
_MEMORY_FILES = (
    ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ("memory.max", "memory.current"),
)
#: How an emulated batch is waited out, as the kernel of an x86-64 machine numbers it.
_CLOCK_NANOSLEEP = "230"


@dataclass(frozen=True, slots=True)
class Container:
    """A pod's one container, as the node's kernel sees it; a restarted one is another."""

    node: Node
    id: str

    @classmethod
    def of(cls, cluster: LocalCluster, pod: Mapping[str, Any]) -> "Container":
        """The container that runs now of a pod, given as the API server gives it."""
        (node,) = [node for node in cluster.nodes() if node.name == pod["spec"]["nodeName"]]
        (status,) = pod["status"]["containerStatuses"]
        return cls(node, status["containerID"].removeprefix("containerd://"))

    @property
    def exists(self) -> bool:
        """Whether it has not ended."""
        return self._folder is not None

    @property
    def pids(self) -> list[int]:
        """Its processes, the first one first."""
        return sorted(self.node.units.cgroups.members(self._group))

    def kill(self) -> None:
        """Kill all its processes at once."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop all its processes where they are."""
        self._signal(signal.SIGSTOP)

    def use_up_memory(self, kubectl: Kubectl, pod: Mapping[str, Any]) -> None:
        """Give it little more memory than it has, and fill that: the kernel kills its largest process."""
        for limit, used in _MEMORY_FILES:
            for root in self.node.units.cgroups.hierarchies.roots:
                folder = root / self.node.units.cgroups.name / self._group
                if (folder / used).exists():
                    (folder / limit).write_text(str(int((folder / used).read_text()) + 8 * MIB))
        # Memory files count for the container but for none of its processes, so the filler is not killed.
        fill = "f = open('/dev/shm/filler', 'wb')\nfor _ in range(64): f.write(bytes(2**20)); f.flush()"
        metadata = pod["metadata"]
        inside = [f"--namespace={metadata['namespace']}", "exec", metadata["name"], "--"]
        with suppress(CommandError):  # the container ends under it
            kubectl.run(*inside, "python", "-c", fill)

    @property
    def _top(self) -> Path:
        return self.node.units.cgroups.hierarchies.tracker / self.node.units.cgroups.name

    @property
    def _folder(self) -> Path | None:
        folders = self.node.units.cgroups.folders(self.node.name)
        return next((folder for folder in folders if folder.name == self.id), None)

    @property
    def _group(self) -> str:
        if (folder := self._folder) is None:
            raise ProcessLookupError(f"container {self.id[:12]} has ended")
        return str(folder.relative_to(self._top))

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids:
            with suppress(ProcessLookupError):  # it ended with the one before it
                os.kill(pid, number)


def restart_kubelet(cluster: LocalCluster, node: Node, longest_back_off: str = SHORT_BACK_OFF) -> None:
    """Kill a node's kubelet and start it again."""
    node.kill("kubelet")
    node.start_kubelet(cluster.control_plane(), longest_back_off)


@contextmanager
def usual_back_off(cluster: LocalCluster, node: Node) -> Iterator[None]:
    """Let a node's kubelet wait before it starts a container again for as long as any other would."""
    restart_kubelet(cluster, node, USUAL_BACK_OFF)
    try:
        yield
    finally:
        restart_kubelet(cluster, node)


@contextmanager
def cut_off(cluster: LocalCluster, node: Node) -> Iterator[None]:
    """Pull a node's cable while the block runs; what runs on the node runs on."""
    addresses = cluster.addresses()
    cluster.network.plug(addresses, node.number, up=False)
    try:
        yield
    finally:
        cluster.network.plug(addresses, node.number, up=True)


def reboot(cluster: LocalCluster, node: Node) -> None:
    """End all that runs on a node, without a word, and start it again with what is on its disk."""
    node.lose_power()
    cluster.network.wait_for_no_cable(cluster.addresses(), node.number)
    others = [other.number for other in cluster.nodes() if other != node]
    node.start_containerd(cluster.network, others)
    node.wait_for_containerd()
    control = cluster.control_plane()
    node.start_kubelet(control)
    node.start_kube_proxy(control)


@contextmanager
def without_control_plane(cluster: LocalCluster, client: Kubectl) -> Iterator[None]:
    """Kill etcd, API server, controller manager and scheduler; start them again after the block."""
    control = cluster.control_plane()
    control.units.cgroups.kill(GROUP)
    try:
        yield
    finally:
        control.start_api_server()
        try:
            control.wait_for_api_server(client)
        finally:
            # One that is late may be ready in a moment, and nobody else would start them.
            control.start_controllers()


def kill_in_its_batch(pid: int) -> None:
    """Kill a lane's process in the middle of an emulated batch.

    Raises TimeoutError where it runs none.
    """

    def is_caught() -> bool:
        # Stopped before it is looked at: else its batch could end in between.
        os.kill(pid, signal.SIGSTOP)
        system_call = Path(f"/proc/{pid}/syscall").read_text().split()[0]
        if system_call != _CLOCK_NANOSLEEP:
            os.kill(pid, signal.SIGCONT)
        return system_call == _CLOCK_NANOSLEEP

    wait_until(is_caught, f"a batch of process {pid}", timeout_s=10, poll_s=0.003)
    os.kill(pid, signal.SIGKILL)
