"""The programs of a local cluster: Kubernetes, etcd and containerd, built once from their Go modules."""

import re
import shutil
from dataclasses import dataclass, fields
from pathlib import Path

from e2e.cluster.golang import GoPrograms
from harness.progress import Progress
from harness.runner import Runner

MODULE = Path(__file__).parent
PAUSE = "./pause"
KUBECTL = "k8s.io/kubernetes/cmd/kubectl"
# Without the snapshotters that need libraries or devices which a local cluster does without.
TAGS = "-tags=no_btrfs,no_devmapper,no_zfs"


@dataclass(frozen=True, slots=True)
class Programs:
    """Where each program of a local cluster lies."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path
    kube_scheduler: Path
    kubelet: Path
    kube_proxy: Path
    kubectl: Path
    containerd: Path
    ctr: Path
    pause: Path

    @classmethod
    def in_folder(cls, folder: Path) -> "Programs":
        """Find all programs in the folder in which they were built."""
        built = {field.name: folder / field.name.replace("_", "-") for field in fields(cls)}
        # Go names a program after its package.
        return cls(**{**built, "etcd": folder / "server"})


def build_all(runner: Runner, progress: Progress) -> Programs:
    """Return the programs of a local cluster, built on first use."""
    packages = re.findall(r'_ "(\S+)"', (MODULE / "tools.go").read_text())
    version = kubernetes_version()
    what = f"Kubernetes {version}, etcd and containerd"
    flags = [TAGS, _linker_flags(version)]
    folder = GoPrograms(MODULE, [*packages, PAUSE], what, about_s=400, flags=flags).build(runner, progress)
    return Programs.in_folder(folder)


def find_kubectl(runner: Runner, progress: Progress) -> Path:
    """Return this machine's kubectl, or build one of the local cluster's version on first use."""
    installed = shutil.which("kubectl")
    if installed is not None:
        return Path(installed)
    version = kubernetes_version()
    programs = GoPrograms(
        MODULE, [KUBECTL], f"kubectl {version}", about_s=120, flags=[_linker_flags(version)]
    )
    return programs.build(runner, progress) / "kubectl"


def kubernetes_version() -> str:
    """Return the version of Kubernetes that go.mod names, such as v1.36.3."""
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text())
    if found is None:
        raise ValueError(f"{MODULE / 'go.mod'} names no version of k8s.io/kubernetes")
    return found[1]


def _linker_flags(version: str) -> str:
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return "-ldflags=-s -w " + " ".join(
        f"-X k8s.io/component-base/version.{k}={v}" for k, v in values.items()
    )
