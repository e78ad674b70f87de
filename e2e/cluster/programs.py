"""The programs of a local cluster: Kubernetes and containerd, built once from their Go modules."""

import re
import shutil
from dataclasses import dataclass, fields
from pathlib import Path

from e2e import cache
from e2e.cluster import golang
from e2e.progress import Progress
from e2e.runner import Runner

MODULE = Path(__file__).parent
PAUSE = "./pause"
KUBECTL = "k8s.io/kubernetes/cmd/kubectl"
# The snapshotters that need libraries or devices which a local cluster does without.
TAGS = "no_btrfs,no_devmapper,no_zfs"


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
        """Take all programs from `folder`, and etcd from the system."""
        built = {f.name: folder / f.name.replace("_", "-") for f in fields(cls) if f.name != "etcd"}
        return cls(etcd=Path(shutil.which("etcd") or "/usr/bin/etcd"), **built)


def build_all(runner: Runner, progress: Progress) -> Programs:
    """Return the programs of a local cluster, built on first use."""
    packages = re.findall(r'_ "(\S+)"', (MODULE / "tools.go").read_text())
    return Programs.in_folder(_build([*packages, PAUSE], runner, progress))


def build_kubectl(runner: Runner, progress: Progress) -> Path:
    """Return a kubectl of the local cluster's version, built on first use."""
    return _build([KUBECTL], runner, progress) / "kubectl"


def kubernetes_version() -> str:
    """Return the version of Kubernetes that go.mod names, such as v1.36.3."""
    found = re.search(r"k8s\.io/kubernetes (v\S+)", (MODULE / "go.mod").read_text())
    if found is None:
        raise ValueError(f"{MODULE / 'go.mod'} names no version of k8s.io/kubernetes")
    return found[1]


def _build(packages: list[str], runner: Runner, progress: Progress) -> Path:
    arguments = [f"-ldflags={_linker_flags(kubernetes_version())}", f"-tags={TAGS}", "-trimpath", *packages]
    key = cache.content_hash(
        *arguments, *(MODULE / name for name in ("go.mod", "go.sum", "tools.go", "pause"))
    )
    log = cache.home() / "logs" / f"go-build-{key}.log"

    def build(folder: Path) -> None:
        go = golang.find_go(runner, progress)
        log.parent.mkdir(parents=True, exist_ok=True)
        names = (
            " and ".join(["Kubernetes " + kubernetes_version(), "containerd"])
            if len(packages) > 1
            else "kubectl"
        )
        with progress.step(f"build {names} from Go modules, once", about_s=400, log=log):
            command = [str(go), "build", "-o", f"{folder}/", *arguments]
            runner.run(command, env=golang.build_environment(), cwd=MODULE, log=log)

    return cache.made_once(cache.home() / "kubernetes" / key / "bin", build)


def _linker_flags(version: str) -> str:
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return "-s -w " + " ".join(f"-X k8s.io/component-base/version.{k}={v}" for k, v in values.items())
