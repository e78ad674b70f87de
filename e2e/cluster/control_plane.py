"""The control plane of a local cluster: etcd, API server, controller manager and scheduler."""

from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import config
from e2e.cluster.addresses import Addresses
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.pki import Pki
from e2e.cluster.programs import Programs
from e2e.cluster.units import Units
from harness.wait import wait_until

GROUP = "control"
UNITS = tuple(f"{GROUP}/{p}" for p in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"))
API_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The control plane, whose files lie in `folder`."""

    folder: Path
    addresses: Addresses
    programs: Programs
    units: Units
    pki: Pki

    def make_certificates(self) -> None:
        """Make the authority, and a certificate for each program but the kubelets."""
        self.pki.make_authority()
        ips = [self.addresses.host, self.addresses.api_service]
        self.pki.make("apiserver", "/CN=kube-apiserver", API_NAMES, ips)
        self.pki.make("service-accounts", "/CN=service-accounts")
        self.pki.make("admin", "/O=system:masters/CN=admin")
        self.pki.make(config.FRONT_PROXY, f"/CN={config.FRONT_PROXY}")
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy"):
            self.pki.make(name, f"/CN=system:{name}")

    def start_api_server(self) -> None:
        """Start etcd and the API server, which waits for it."""
        self.units.cgroups.make(GROUP)
        self._start("etcd", self.programs.etcd, config.etcd(self.addresses, self.folder / "etcd"))
        self._start(
            "kube-apiserver", self.programs.kube_apiserver, config.apiserver(self.addresses, self.pki)
        )

    def wait_for_api_server(self, client: Kubectl) -> None:
        """Return once the API server is ready. Raises ClusterError if it has ended, TimeoutError."""

        def ready() -> bool:
            self.units.check(UNITS[:2])
            return client.api_ready()

        wait_until(ready, "the API server is ready", timeout_s=120)

    def start_controllers(self) -> None:
        """Start the controller manager and the scheduler; the API server must be ready."""
        manager = self.write_kubeconfig("kube-controller-manager")
        arguments = config.controller_manager(self.addresses, self.pki, manager)
        self._start("kube-controller-manager", self.programs.kube_controller_manager, arguments)
        scheduler = self.write_kubeconfig("kube-scheduler")
        self._start(
            "kube-scheduler", self.programs.kube_scheduler, config.scheduler(self.addresses, scheduler)
        )

    def write_kubeconfig(self, user: str) -> Path:
        """Write the kubeconfig of the holder of a certificate, and return its path.

        All at once, for nodes share kube-proxy's: one may be starting to read it as it is written again.
        """
        path = self.folder / f"{user}.kubeconfig"
        unfinished = path.with_suffix(".unfinished")
        unfinished.touch(mode=0o600)
        unfinished.write_text(config.kubeconfig(self.addresses.api_url, self.pki, user))
        return unfinished.replace(path)

    def _start(self, name: str, program: Path, arguments: list[str]) -> None:
        self.units.start(f"{GROUP}/{name}", [str(program), *arguments])
