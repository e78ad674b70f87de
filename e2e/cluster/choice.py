"""Choosing the kind of cluster."""

from e2e.cluster.base import Cluster, ClusterError
from e2e.cluster.local import LocalCluster
from e2e.progress import Progress
from e2e.runner import Runner, Shell, succeeds

KINDS = ("local", "kind", "existing")
DEFAULT_NAME = "kneescale"


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
    match kind or default_kind(runner):
        case "local":
            return LocalCluster(name, runner, progress)
    raise ClusterError(f"no such kind of cluster: {kind}; choose one of {', '.join(KINDS)}")


def default_kind(runner: Runner) -> str:
    """Return the kind of cluster that this machine can run."""
    return "kind" if succeeds(runner, ["docker", "version", "--format={{.Server.Version}}"]) else "local"
