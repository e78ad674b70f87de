"""A real KEDA beside a local cluster: its operator and its metrics adapter, as processes of this machine.

They run as an administrator; the API server finds the adapter through a Service without a selector.
"""

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

from e2e.cluster.golang import GoPrograms, sources
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.cluster.pki import Pki
from harness.ports import free_ports
from harness.progress import Progress
from harness.runner import Runner
from harness.wait import wait_until

_FOLDER = Path(__file__).parent / "keda_program"
_MODULE = "github.com/kedacore/keda/v2"
_PROGRAMS = GoPrograms(
    _FOLDER,
    [f"{_MODULE}/cmd/operator", f"{_MODULE}/cmd/adapter"],
    "KEDA",
    about_s=900,
    flags=["-ldflags=-s -w"],
)
_NAMESPACE = "keda"
_API_SERVICE = "apiservice/v1beta1.external.metrics.k8s.io"
_SERVED_S = 60.0
#: What its pods have: they look at all namespaces.
_ENVIRONMENT = {
    "KEDA_CLUSTER_OBJECT_NAMESPACE": _NAMESPACE,
    "POD_NAMESPACE": _NAMESPACE,
    "WATCH_NAMESPACE": "",
}
#: The adapter asks the API server in three roles.
_KUBECONFIGS = ("lister-kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")


@dataclass(frozen=True, slots=True)
class Keda:
    """The folders of its programs and of its CRDs."""

    programs: Path
    crds: Path

    @classmethod
    def build(cls, runner: Runner, progress: Progress) -> "Keda":
        """Built on first use, from its Go module. Raises CommandError."""
        programs = _PROGRAMS.build(runner, progress)
        module = sources(_MODULE, runner, progress, pinned_in=_FOLDER)
        return cls(programs, module / "config" / "crd" / "bases")

    @contextmanager
    def running(self, cluster: LocalCluster, kubectl: Kubectl, folder: Path) -> Iterator[None]:
        """KEDA on a cluster, with its logs in a folder; external metrics are served when this begins."""
        host, pki = str(cluster.addresses().host), cluster.control_plane().pki
        grpc, https = free_ports(2)
        certificates = _certificates(pki, folder / "certs", host)
        self._apply(kubectl, folder, host, https, pki.certificate("ca"))
        commands = {
            "operator": _operator_arguments(f"{host}:{grpc}", certificates),
            "adapter": _adapter_arguments(f"{host}:{grpc}", host, https, certificates, kubectl.kubeconfig),
        }
        try:
            with ExitStack() as processes:
                for name, arguments in commands.items():
                    argv = [str(self.programs / name), *arguments]
                    processes.enter_context(_process(argv, kubectl.kubeconfig, folder / f"{name}.log"))
                kubectl.run("wait", "--for=condition=Available", _API_SERVICE, "--timeout=120s")
                yield
        finally:
            kubectl.run("delete", _API_SERVICE)

    def _apply(self, kubectl: Kubectl, folder: Path, host: str, port: int, authority: Path) -> None:
        # Server-side: an annotation with the whole of a CRD would be too long.
        kubectl.run("apply", "--server-side", f"--filename={self.crds}")
        kind = "scaledobjects.keda.sh"
        wait_until(lambda: kubectl.serves(kind), f"{kind} are served", _SERVED_S)
        objects = Template((_FOLDER / "objects.yaml").read_text())
        encoded = base64.b64encode(authority.read_bytes()).decode()
        file = folder / "objects.yaml"
        file.write_text(objects.substitute(host=host, port=port, authority=encoded))
        kubectl.run("apply", f"--filename={file}")


def _operator_arguments(address: str, certificates: Path) -> list[str]:
    return [
        f"--cert-dir={certificates}",
        f"--metrics-service-bind-address={address}",
        "--metrics-bind-address=0",
        "--health-probe-bind-address=0",
    ]


def _adapter_arguments(
    operator: str, host: str, port: int, certificates: Path, kubeconfig: Path
) -> list[str]:
    return [
        f"--cert-dir={certificates}",
        f"--metrics-service-address={operator}",
        f"--bind-address={host}",
        f"--secure-port={port}",
        "--port=0",
        f"--client-ca-file={certificates / 'ca.crt'}",
        f"--tls-cert-file={certificates / 'tls.crt'}",
        f"--tls-private-key-file={certificates / 'tls.key'}",
        *(f"--{name}={kubeconfig}" for name in _KUBECONFIGS),
    ]


@contextmanager
def _process(argv: Sequence[str], kubeconfig: Path, log: Path) -> Iterator[None]:
    env = {**os.environ, **_ENVIRONMENT, "KUBECONFIG": str(kubeconfig)}
    with log.open("w") as out, subprocess.Popen(argv, env=env, stdout=out, stderr=out) as process:
        try:
            yield
        finally:
            process.terminate()


def _certificates(pki: Pki, folder: Path, host: str) -> Path:
    """A folder with one certificate for all of KEDA, as its own certificate rotation makes it."""
    names = [f"{name}.{_NAMESPACE}.svc" for name in ("keda-operator", "keda-metrics-apiserver")]
    pki.make("keda", "/CN=keda", names, [host])
    folder.mkdir()
    shutil.copy(pki.certificate("ca"), folder / "ca.crt")
    shutil.copy(pki.certificate("keda"), folder / "tls.crt")
    shutil.copy(pki.key("keda"), folder / "tls.key")
    return folder
