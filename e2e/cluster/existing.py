"""The cluster that kubectl's current context names, taken as it is."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from e2e import oci
from e2e.buildah import REPOSITORY, Buildah
from e2e.cluster.base import ClusterError
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.programs import find_kubectl
from harness import cache
from harness.progress import Progress
from harness.runner import CommandError, Runner


class ExistingCluster:
    """A cluster that others run; see e2e.cluster.base.Cluster."""

    def __init__(self, name: str, runner: Runner, progress: Progress, registry: str | None) -> None:
        """Describe it; `registry`, such as registry.example.org/team, is where its nodes pull images from."""
        self.name = name
        self._runner = runner
        self._progress = progress
        self._registry = registry

    @property
    def kubeconfig(self) -> Path:
        """The current context alone, copied by `up`: a later change of context changes nothing here."""
        return cache.home() / "existing" / self.name / "kubeconfig"

    @cached_property
    def kubectl(self) -> Path:
        """This machine's kubectl, or one that was built."""
        return find_kubectl(self._runner, self._progress)

    def up(self) -> None:
        """Copy the current context and see that its cluster answers; see Cluster.up."""
        try:
            view = self._runner.run([str(self.kubectl), "config", "view", "--minify", "--flatten", "--raw"])
        except CommandError as error:
            raise ClusterError(
                f"kubectl has no current context: choose one with kubectl config ({error})"
            ) from error
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(view)
        if not self._client.ready_nodes():
            raise ClusterError(
                "the cluster of kubectl's current context has no node that is Ready, or does not answer"
            )

    def down(self) -> None:
        """Forget the copied context; the cluster stays as it is."""
        cache.remove(self.kubeconfig.parent)

    def load_images(self, archives: Sequence[Path]) -> None:
        """Push images to the registry that the nodes pull from. Raises ClusterError if none is named."""
        for archive in archives:
            for image in oci.images_in(archive):
                target = self.image_ref(image.ref)
                with self._progress.step(f"push {target}", about_s=30):
                    Buildah(self._runner).push(archive, target)

    def image_ref(self, ref: str) -> str:
        """Return the name of an image in the registry. Raises ClusterError if none is named."""
        if self._registry is None:
            raise ClusterError(
                "images cannot be put into the nodes of an existing cluster: name a registry that they can "
                "pull from and that you may push to, with KNEESCALE_REGISTRY=registry.example.org/team"
            )
        return f"{self._registry}/{ref.removeprefix(f'{REPOSITORY}/')}"

    @property
    def _client(self) -> Kubectl:
        return Kubectl(self.kubectl, self.kubeconfig, self._runner)
