"""Choosing the kind of cluster."""

import os
import re

from e2e.cluster.base import Cluster, ClusterError
from e2e.cluster.existing import ExistingCluster
from e2e.cluster.kind import KindCluster
from e2e.cluster.local import LocalCluster
from harness.progress import Progress
from harness.runner import Runner, Shell, succeeds

KINDS = ("local", "kind", "existing")
DEFAULT_NAME = "kneescale"
NAME = re.compile("[a-z][a-z0-9-]{0,29}")


def choose(
    kind: str | None = None,
    name: str = DEFAULT_NAME,
    *,
    runner: Runner | None = None,
    progress: Progress | None = None,
) -> Cluster:
    """Return the cluster of that kind and name, up or not.

    Without a kind it is `kind` where a Docker engine answers, else `local`; the current context of kubectl
    (`existing`) is only ever used when named. Raises ClusterError.
    """
    runner, progress = runner or Shell(), progress or Progress()
    if not NAME.fullmatch(name):
        raise ClusterError(
            f"{name!r} is no name for a cluster: use up to 30 of a-z, 0-9 and -, a letter first"
        )
    match kind or default_kind(runner):
        case "local":
            return LocalCluster(name, runner, progress)
        case "kind":
            return KindCluster(name, runner, progress)
        case "existing":
            return ExistingCluster(name, runner, progress, os.environ.get("KNEESCALE_REGISTRY"))
    raise ClusterError(f"no such kind of cluster: {kind}; choose one of {', '.join(KINDS)}")


def default_kind(runner: Runner) -> str:
    """Return the kind of cluster that this machine can run."""
    return "kind" if succeeds(runner, ["docker", "version", "--format={{.Server.Version}}"]) else "local"
