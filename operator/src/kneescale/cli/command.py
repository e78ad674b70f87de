"""What commands have in common: a parser with a help worth reading, and options and output of one kind."""

import argparse
import json
from pathlib import Path
from typing import TextIO, TypeAlias

#: What `argparse.ArgumentParser.add_subparsers` returns, which has no public name.
Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def new_parser(
    subcommands: Subcommands, name: str, *, summary: str, description: str, examples: str
) -> argparse.ArgumentParser:
    """The parser of a command; description and examples are shown as they are laid out."""
    return subcommands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_scenario_argument(parser: argparse.ArgumentParser) -> None:
    """Add SCENARIO, the path of one."""
    parser.add_argument("scenario", metavar="SCENARIO", type=Path, help="scenario YAML")


def add_output_argument(parser: argparse.ArgumentParser, default: str = "table") -> None:
    """Add `--output`: the default or json."""
    parser.add_argument("--output", choices=(default, "json"), default=default, help="default: %(default)s")


def add_plot_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--plot`, which draws `what`; see `check_plot`."""
    parser.add_argument("--plot", metavar="FILE", type=Path, help=f"{what}: a .png, .svg or .pdf")


def check_plot(arguments: argparse.Namespace, rows: int = 1) -> None:
    """Whether the picture that was asked for, if any, can be drawn, before the work that it is to show.

    `rows` is how many panels are to be one below the other, where that is known.

    Raises InvalidInputError where it cannot.
    """
    if arguments.plot:
        # matplotlib is an extra that takes a second to import, and only pictures need it.
        from kneescale.cli.plotting import check_picture

        check_picture(arguments.plot, rows)


def write_json(value: object, out: TextIO) -> None:
    """Write a value that JSON knows, for people too."""
    json.dump(value, out, indent=2)
    out.write("\n")
