"""The parser of the whole program: one subcommand per module of this package."""

import argparse
from importlib.metadata import version

from kneescale.cli import bound, capacity, explain, knee, plan, predict, simulate

#: Each module has `add_to(subcommands)`, which names the function that runs it in `run`.
_SUBCOMMANDS = (knee, predict, bound, simulate, capacity, plan, explain)


def new_program_parser() -> argparse.ArgumentParser:
    """The parser of `kneescale`."""
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
