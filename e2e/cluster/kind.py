"""A cluster of containers on a Docker engine, by kind."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from e2e.cluster.base import ClusterError
from e2e.cluster.golang import GoPrograms
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.programs import find_kubectl
from harness import cache
from harness.progress import Progress
from harness.runner import CommandError, Runner

MODULE = Path(__file__).parent / "kind_program"
WORKERS = 2
CONFIG = {
    "kind": "Cluster",
    "apiVersion": "kind.x-k8s.io/v1alpha4",
    "nodes": [{"role": "control-plane"}, *({"role": "worker"} for _ in range(WORKERS))],
}


class KindCluster:
    """A cluster on this machine's Docker engine; see e2e.cluster.base.Cluster."""

    def __init__(self, name: str, runner: Runner, progress: Progress) -> None:
        """Describe a cluster of one control plane node and WORKERS workers."""
        self.name = name
        self._runner = runner
        self._progress = progress
        self._folder = cache.home() / "kind" / name

    @property
    def kubeconfig(self) -> Path:
        """An administrator's kubeconfig, apart from the user's own."""
        return self._folder / "kubeconfig"

    @cached_property
    def kubectl(self) -> Path:
        """This machine's kubectl, or one that was built."""
        return find_kubectl(self._runner, self._progress)

    def up(self) -> None:
        """Start the cluster; see Cluster.up."""
        with cache.lock(self._folder):
            if self._healthy():
                self._progress.note(f"cluster {self.name} is up already")
                return
            self._remove()
            with self._progress.step(f"start kind cluster {self.name}", about_s=90):
                self._start_or_clean_up()

    def down(self) -> None:
        """Remove the cluster; see Cluster.down."""
        with cache.lock(self._folder), self._progress.step(f"take down kind cluster {self.name}", about_s=10):
            self._remove()

    def load_images(self, archives: Sequence[Path]) -> None:
        """Import OCI archives into every node; see Cluster.load_images."""
        for archive in archives:
            self._kind("load", "image-archive", str(archive), f"--name={self.name}")

    def image_ref(self, ref: str) -> str:
        """Images keep their names."""
        return ref

    @property
    def _client(self) -> Kubectl:
        return Kubectl(self.kubectl, self.kubeconfig, self._runner)

    @cached_property
    def _program(self) -> Path:
        programs = GoPrograms(MODULE, ["sigs.k8s.io/kind"], "kind", about_s=40)
        return programs.build(self._runner, self._progress) / "kind"

    def _healthy(self) -> bool:
        exists = self.name in self._kind("get", "clusters").split()
        return exists and self.kubeconfig.exists() and len(self._client.ready_nodes()) == 1 + WORKERS

    def _start_or_clean_up(self) -> None:
        try:
            self._start()
        except BaseException as error:
            self._remove()
            if isinstance(error, CommandError):
                raise ClusterError(f"kind could not start a cluster: {error}") from error
            raise

    def _start(self) -> None:
        self._folder.mkdir(parents=True)
        config = self._folder / "config.json"
        config.write_text(json.dumps(CONFIG))
        options = [f"--name={self.name}", f"--config={config}", f"--kubeconfig={self.kubeconfig}"]
        self._kind("create", "cluster", *options, "--wait=180s")
        if len(self._client.ready_nodes()) != 1 + WORKERS:
            raise ClusterError("not every node of the kind cluster became Ready in 180 s")

    def _remove(self) -> None:
        self._kind("delete", "cluster", f"--name={self.name}", f"--kubeconfig={self.kubeconfig}")
        cache.remove(self._folder)

    def _kind(self, *args: str) -> str:
        return self._runner.run([str(self._program), *args])
