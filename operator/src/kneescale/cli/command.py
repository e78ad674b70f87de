"""What every command has: a parser with a help worth reading, and JSON to write."""

import argparse
import json
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


def write_json(value: object, out: TextIO) -> None:
    """Write a value that JSON knows, for people too."""
    json.dump(value, out, indent=2)
    out.write("\n")
