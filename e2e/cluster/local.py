"""A real Kubernetes on one Linux machine, without Docker: a control plane, and nodes in namespaces.

The machine itself keeps nothing of it but processes in control groups below /kns-NAME, one bridge with its
cables and routes, and files under ~/.cache/kneescale: all mounts and firewall rules are in the nodes'
namespaces and end with them.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import repeat
from pathlib import Path

from e2e import oci
from e2e.cluster import config, control_plane
from e2e.cluster.addresses import Addresses
from e2e.cluster.base import ClusterError
from e2e.cluster.cgroups import CgroupTree, this_machines_cpus
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.network import Network
from e2e.cluster.node import OWN_FOLDERS, Node
from e2e.cluster.pki import Pki
from e2e.cluster.programs import Programs, build_all
from e2e.cluster.units import Units
from harness import cache
from harness.debian import ensure_packages
from harness.progress import Progress
from harness.runner import Runner
from harness.wait import wait_until

# Each with a program that it brings.
PACKAGES = {
    "runc": "runc",
    "containernetworking-plugins": f"{config.CNI_PROGRAMS}/bridge",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "iproute2": "ip",
    "openssl": "openssl",
}

_NODE_NUMBERS = (1, 2)


class LocalCluster:
    """A cluster of this machine's own; see e2e.cluster.base.Cluster."""

    def __init__(
        self, name: str, runner: Runner, progress: Progress, *, programs: Programs | None = None
    ) -> None:
        """Describe a cluster; `programs` replaces those that would be built."""
        self.name = name
        self._runner = runner
        self._progress = progress
        self._given_programs = programs
        self._folder = cache.home() / "clusters" / name
        self.network = Network(runner)

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig."""
        return self._folder / "admin.kubeconfig"

    @property
    def kubectl(self) -> Path:
        """The kubectl program of the cluster's own version."""
        return self._programs.kubectl

    def up(self) -> None:
        """Start the cluster; see Cluster.up."""
        _require_root()
        self._require_visible_folders()
        ensure_packages(PACKAGES, self._runner, self._progress)
        with cache.lock(self._folder, on_wait=self._progress.note):
            if self._healthy():
                self._progress.note(f"cluster {self.name} is up already")
                return
            self._remove()
            what = f"start cluster {self.name}: control plane and {len(_NODE_NUMBERS)} nodes"
            with self._progress.step(what, about_s=5, log=self._units.logs):
                self._start_or_clean_up()

    def down(self) -> None:
        """Remove the cluster; see Cluster.down."""
        _require_root()
        with (
            cache.lock(self._folder, on_wait=self._progress.note),
            self._progress.step(f"take down cluster {self.name}", about_s=3),
        ):
            self._remove()

    def nodes(self) -> list[Node]:
        """The nodes. Raises ClusterError if the cluster is not up."""
        return self._nodes(self.addresses())

    def control_plane(self) -> ControlPlane:
        """The control plane. Raises ClusterError if the cluster is not up."""
        return self._control_plane(self.addresses())

    def addresses(self) -> Addresses:
        """The cluster's addresses. Raises ClusterError if it is not up."""
        addresses = self.network.addresses_of(self.name)
        if addresses is None:
            raise ClusterError(f"cluster {self.name} is not up")
        return addresses

    def load_images(self, archives: Sequence[Path]) -> None:
        """Import OCI archives into every node; see Cluster.load_images."""
        nodes = self.nodes()
        with ThreadPoolExecutor(len(nodes)) as pool:
            for archive in archives:
                list(pool.map(Node.load_image, nodes, repeat(archive)))

    def image_ref(self, ref: str) -> str:
        """Images keep their names."""
        return ref

    @cached_property
    def _programs(self) -> Programs:
        return self._given_programs or build_all(self._runner, self._progress)

    @cached_property
    def _client(self) -> Kubectl:
        return Kubectl(self.kubectl, self.kubeconfig, self._runner)

    @cached_property
    def _cgroups(self) -> CgroupTree:
        return CgroupTree.on_this_machine(f"kns-{self.name}")

    @cached_property
    def _units(self) -> Units:
        logs = cache.home() / "logs" / self.name
        return Units(self._cgroups, logs, self._programs.containerd.parent, self._runner)

    def _control_plane(self, addresses: Addresses) -> ControlPlane:
        pki = Pki(self._folder / "pki", self._runner)
        return ControlPlane(self._folder, addresses, self._programs, self._units, pki)

    def _nodes(self, addresses: Addresses) -> list[Node]:
        cpus = this_machines_cpus()
        return [
            Node(
                number=number,
                cpu=cpus[(number - 1) % len(cpus)],
                folder=self._folder / f"node{number}",
                addresses=addresses,
                programs=self._programs,
                units=self._units,
                runner=self._runner,
            )
            for number in _NODE_NUMBERS
        ]

    def _healthy(self) -> bool:
        addresses = self.network.addresses_of(self.name)
        if addresses is None or not self.kubeconfig.exists():
            return False
        nodes = self._nodes(addresses)
        return all(map(self._units.running, _units(nodes))) and self._all_ready(nodes)

    def _all_ready(self, nodes: Sequence[Node]) -> bool:
        return self._client.ready_nodes() == [node.name for node in nodes]

    def _start_or_clean_up(self) -> None:
        try:
            self._start()
        except BaseException as error:
            self._remove()
            if isinstance(error, TimeoutError):
                raise ClusterError(f"{error}; logs: {self._units.logs}") from error
            raise

    def _start(self) -> None:
        self._folder.mkdir(parents=True)
        cache.remove(self._units.logs)
        addresses = self.network.make(self.name)
        self._cgroups.make()
        nodes = self._nodes(addresses)
        control = self._control_plane(addresses)
        control.make_certificates()
        control.write_kubeconfig("admin")
        control.start_api_server()
        for node in nodes:
            node.start_containerd(self.network, [n for n in _NODE_NUMBERS if n != node.number])
        self.network.route_services(addresses, node=_NODE_NUMBERS[0])
        control.wait_for_api_server(self._client)
        control.start_controllers()
        for node in nodes:
            node.start_kubelet(control)
            node.start_kube_proxy(control)
        self._load_pause_image(nodes)
        self._wait_for_nodes(nodes)

    def _load_pause_image(self, nodes: Sequence[Node]) -> None:
        archive = self._folder / "pause.tar"
        oci.write_image(archive, config.PAUSE_IMAGE, {"/pause": self._programs.pause}, entrypoint=["/pause"])
        for node in nodes:
            node.wait_for_containerd()
            node.load_image(archive)

    def _wait_for_nodes(self, nodes: Sequence[Node]) -> None:
        def ready() -> bool:
            self._units.check(_units(nodes))
            return self._all_ready(nodes)

        wait_until(ready, "every node is Ready", timeout_s=120)

    def _remove(self) -> None:
        addresses = self.network.addresses_of(self.name)
        self._cgroups.kill()
        if addresses is not None:
            self.network.remove(addresses)
        self._cgroups.remove()
        cache.remove(self._folder)

    def _require_visible_folders(self) -> None:
        used = (self._folder, self._programs.containerd.parent)
        hidden = [path for path in used if any(path.is_relative_to(own) for own in OWN_FOLDERS)]
        if hidden:
            raise ClusterError(
                f"{hidden[0]} is hidden in a node's own folders: set XDG_CACHE_HOME to another place"
            )


def _units(nodes: Sequence[Node]) -> list[str]:
    return [*control_plane.UNITS, *(unit for node in nodes for unit in node.unit_names)]


def _require_root() -> None:
    if os.geteuid() != 0:
        raise ClusterError("a local cluster needs root: run this as root, or use --kind kind")
