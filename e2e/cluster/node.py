"""One node of a local cluster: namespaces of its own, with containerd, kubelet and kube-proxy in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e import oci
from e2e.cluster import config
from e2e.cluster.addresses import Addresses
from e2e.cluster.base import ClusterError
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.network import Network
from e2e.cluster.programs import Programs
from e2e.cluster.units import Units
from harness import cache
from harness.runner import Runner
from harness.wait import wait_until

# The folders that are each node's own, so that two nodes with the same paths do not meet.
OWN_FOLDERS = ("/run", "/var/lib", "/var/log")
BUILT_HERE = "localhost/"
SOCKET = "/run/containerd/containerd.sock"
#: The longest that a kubelet waits before it starts a container again that keeps ending: here, where tests
#: end the same one again and again, and anywhere else (10 s the second time).
SHORT_BACK_OFF, USUAL_BACK_OFF = "1s", "300s"


@dataclass(frozen=True, slots=True)
class Node:
    """Node number `number`, whose files lie in `folder`; it is bound to one CPU."""

    number: int
    cpu: int
    folder: Path
    addresses: Addresses
    programs: Programs
    units: Units
    runner: Runner

    @property
    def name(self) -> str:
        """The name of the node in Kubernetes."""
        return f"node{self.number}"

    @property
    def unit_names(self) -> list[str]:
        """The units that run on a healthy node."""
        return [self._unit(program) for program in ("namespaces", "containerd", "kubelet", "kube-proxy")]

    def start_containerd(self, network: Network, other_nodes: Sequence[int]) -> None:
        """Make the node's namespaces, connect them to the network, and start containerd in them."""
        self._make_folders()
        self.units.cgroups.make(self.name, cpus=str(self.cpu))
        self._make_namespaces()
        network.connect(self.addresses, self.number, self.units.pid(self._unit("namespaces")))
        self._configure_network(other_nodes)
        containerd = [str(self.programs.containerd), f"--config={self.folder / 'containerd.toml'}"]
        self.units.start(self._unit("containerd"), containerd, self._entering())

    def _make_namespaces(self) -> None:
        keeper = self._unit("namespaces")
        self.units.start(keeper, ["unshare", "--mount", "--net", "--propagation=slave", "sleep", "infinity"])
        wait_until(lambda: self._is_sleeping(keeper), f"{self.name} has its namespaces", timeout_s=10)
        for own in OWN_FOLDERS:
            self._bind(self.path(own), own)
        # The kubelet counts the CPUs that are online, whatever it is bound to itself.
        online = self.folder / "online-cpus"
        online.write_text(f"{self.cpu}\n")
        self._bind(online, "/sys/devices/system/cpu/online")
        # What an agent mounts below its folder in a pod must be seen by the next pod.
        self.inside("mount", "--no-mtab", "--make-rshared", "/")

    def _configure_network(self, other_nodes: Sequence[int]) -> None:
        a = self.addresses
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "addr", "add", f"{a.node(self.number)}/{a.network.prefixlen}", "dev", "eth0")
        self.inside("ip", "link", "set", "eth0", "up")
        self.inside("ip", "route", "add", "default", "via", str(a.host))
        for other in other_nodes:
            self.inside("ip", "route", "add", str(a.pods(other)), "via", str(a.node(other)))
        self.inside("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")

    def start_kubelet(self, control_plane: ControlPlane, longest_back_off: str = SHORT_BACK_OFF) -> None:
        """Start the kubelet; the API server must be ready."""
        group = f"/{self.units.cgroups.name}/{self.name}"
        pki = control_plane.pki
        pki.make(
            self.name, f"/O=system:nodes/CN=system:node:{self.name}", ips=[self.addresses.node(self.number)]
        )
        settings = self.folder / "kubelet.json"
        settings.write_text(
            config.kubelet(pki, self.name, group, self.addresses.dns_service, longest_back_off)
        )
        kubelet = [
            str(self.programs.kubelet),
            f"--config={settings}",
            f"--kubeconfig={control_plane.write_kubeconfig(self.name)}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.addresses.node(self.number)}",
        ]
        self.units.start(self._unit("kubelet"), kubelet, self._entering())

    def start_kube_proxy(self, control_plane: ControlPlane) -> None:
        """Start kube-proxy; the API server must be ready."""
        proxy = config.kube_proxy(self.addresses, self.name, control_plane.write_kubeconfig("kube-proxy"))
        self.units.start(self._unit("kube-proxy"), [str(self.programs.kube_proxy), *proxy], self._entering())

    def wait_for_containerd(self) -> None:
        """Return once containerd answers. Raises ClusterError if it has ended, TimeoutError."""
        socket = self.path(SOCKET)

        def answers() -> bool:
            self.units.check([self._unit("containerd")])
            return socket.is_socket()

        wait_until(answers, f"containerd of {self.name} answers", timeout_s=60)

    def load_image(self, archive: Path) -> None:
        """Import an OCI archive, unless the node has all its images already. Raises ClusterError.

        Images that were built here also get the names that manifests/overlays/local gives them, so that those
        always name the last ones loaded.
        """
        images = oci.images_in(archive)
        if set(images) - self._images():
            importing = [*self._entering(), *self._ctr("import", "-")]
            self.runner.run(importing, env=self.units.environment(), stdin=archive)
        missing = set(images) - self._images()
        if missing:
            raise ClusterError(
                f"{archive} was imported, but {self.name} has no {sorted(i.ref for i in missing)}"
            )

        for ref in (image.ref for image in images if image.ref.startswith(BUILT_HERE)):
            repository = ref.removeprefix(BUILT_HERE).rpartition(":")[0]
            self.inside(*self._ctr("tag", "--force", ref, f"docker.io/{repository}:local"))

    def kill(self, program: str) -> None:
        """Kill one of the node's programs: kubelet, containerd or kube-proxy."""
        self.units.cgroups.kill(self._unit(program))

    def lose_power(self) -> None:
        """End all that runs on the node, and forget what a reboot forgets: /run and control groups.

        The node's namespaces end with it, and so all its mounts and its end of the cable.
        """
        self.units.cgroups.kill(self.name)
        self.units.cgroups.remove(self.name)
        cache.remove(self.folder / "run")

    def path(self, path: str) -> Path:
        """Where a path in one of the node's own folders is on this machine."""
        return self.folder / path.lstrip("/")

    def seen(self, path: str) -> Path:
        """Where this machine sees a path as the node does, with all that is mounted there."""
        return Path(f"/proc/{self.units.pid(self._unit('namespaces'))}/root") / path.lstrip("/")

    def inside(self, *argv: str) -> str:
        """Run a program in the node's namespaces and return its output. Raises CommandError."""
        return self.runner.run([*self._entering(), *argv], env=self.units.environment())

    def _ctr(self, *args: str) -> list[str]:
        return [str(self.programs.ctr), "--namespace=k8s.io", "images", *args]

    def _images(self) -> set[oci.NamedImage]:
        lines = self.inside(*self._ctr("ls")).splitlines()[1:]
        return {oci.NamedImage(ref=f[0], digest=f[2]) for f in map(str.split, lines)}

    def _make_folders(self) -> None:
        for own in OWN_FOLDERS:
            self.path(own).mkdir(parents=True, exist_ok=True)
        plugins = self.folder / "cni"
        plugins.mkdir(exist_ok=True)
        (plugins / "10-bridge.conflist").write_text(config.cni(self.addresses.pods(self.number)))
        (self.folder / "containerd.toml").write_text(config.containerd(plugins))

    def _unit(self, program: str) -> str:
        return f"{self.name}/{program}"

    def _is_sleeping(self, unit: str) -> bool:
        pid = self.units.pid(unit)
        return Path(f"/proc/{pid}/comm").read_text().strip() == "sleep"

    def _entering(self) -> list[str]:
        # Not `ip netns exec`: that mounts a new /sys, without control groups.
        return ["nsenter", f"--target={self.units.pid(self._unit('namespaces'))}", "--mount", "--net"]

    def _bind(self, source: Path, target: str) -> None:
        # Without --no-mtab, mount keeps notes in the machine's own /run/mount.
        self.inside("mount", "--no-mtab", "--bind", str(source), target)
