"""`kneescale`: one subcommand per module of this package."""

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version

from kneescale.cli import bound, capacity, explain, knee, plan, predict, simulate
from kneescale.core.errors import KneescaleError

#: What a shell calls wrong usage; wrong input is no different.
_WRONG_INPUT = 2

#: Each module has `add_to(subcommands)`, which names the function that runs it in `run`.
_SUBCOMMANDS = (knee, predict, bound, simulate, capacity, plan, explain)


def program() -> int:
    """Be the process `kneescale`."""
    # A reader that has seen enough (`| head`) ends it; that is no error to report.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 2 with one line on stderr where the input is wrong."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed, sys.stdout)
    except KneescaleError as error:
        sys.stderr.write(f"kneescale: {error}\n")
        return _WRONG_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kneescale",
        description="GPU sharing for DNN inference on Kubernetes. "
        "No command needs a GPU, and only explain needs a cluster.",
    )
    parser.add_argument("--version", action="version", version=f"kneescale {version('kneescale')}")
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in _SUBCOMMANDS:
        module.add_to(subcommands)
    return parser
