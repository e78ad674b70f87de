"""The port of a cluster: what the demo and the end-to-end tests ask of a Kubernetes, whoever runs it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class ClusterError(RuntimeError):
    """A cluster cannot do what was asked of it; the message says what to change."""


class Cluster(Protocol):
    """A Kubernetes cluster of at least one worker node."""

    @property
    def name(self) -> str:
        """The name of the cluster on this machine."""
        ...

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig file with an administrator's rights; it exists once the cluster is up."""
        ...

    @property
    def kubectl(self) -> Path:
        """The kubectl program to use with this cluster."""
        ...

    def up(self) -> None:
        """Start the cluster and return once every node is Ready.

        A healthy one is kept, a half-started one is taken down first, a failed start leaves nothing behind.
        Raises ClusterError.
        """
        ...

    def down(self) -> None:
        """Remove everything that `up` made, and nothing else."""
        ...

    def load_images(self, archives: Sequence[Path]) -> None:
        """Make the images of these OCI archives available to every node; known ones are skipped."""
        ...

    def image_ref(self, ref: str) -> str:
        """Return the reference by which a pod on this cluster names the loaded image `ref`."""
        ...
