"""The command line: python -m e2e.cluster up|down|status [--kind KIND] [--name NAME]."""

import argparse
import signal
import sys
from collections.abc import Sequence

from e2e.cluster.base import Cluster, ClusterError
from e2e.cluster.choice import DEFAULT_NAME, KINDS, choose
from e2e.cluster.kubectl import Kubectl
from harness.debian import MissingPackagesError
from harness.runner import CommandError, Shell


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status: 0, 1 if it failed, 2 if it was not understood."""
    parser = argparse.ArgumentParser(
        prog="python -m e2e.cluster", description="A cluster for demo and tests."
    )
    parser.add_argument("command", choices=("up", "down", "status"))
    parser.add_argument(
        "--kind", choices=KINDS, help="default: kind where a Docker engine answers, else local"
    )
    parser.add_argument("--name", default=DEFAULT_NAME)
    arguments = parser.parse_args(argv)
    # A terminated start cleans up, as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _run(arguments.command, choose(arguments.kind, arguments.name))
    except (ClusterError, CommandError, MissingPackagesError, TimeoutError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(command: str, cluster: Cluster) -> None:
    match command:
        case "up":
            cluster.up()
            sys.stdout.write(f"export KUBECONFIG={cluster.kubeconfig}\n")
        case "down":
            cluster.down()
        case _:
            client = Kubectl(cluster.kubectl, cluster.kubeconfig, Shell())
            sys.stdout.write(f"{client.server_version()} {' '.join(client.node_names())}\n")


if __name__ == "__main__":
    sys.exit(main())
