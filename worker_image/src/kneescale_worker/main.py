"""The worker's command line: `python -m kneescale_worker serve|profile`."""

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kneescale.core.errors import KneescaleError
from kneescale_worker.executor import make_executor
from kneescale_worker.profile import profile
from kneescale_worker.serve import serve
from kneescale_worker.settings import parse_settings, termination_path

_EXIT_OK, _EXIT_ERROR = 0, 2
#: What shells report for a program that SIGTERM ended.
_EXIT_TERMINATED = 128 + signal.SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. Why it failed also becomes the termination message."""
    parser = argparse.ArgumentParser("kneescale_worker", description=__doc__)
    parser.add_argument("command", choices=("serve", "profile"))
    command = parser.parse_args(argv).command
    # As a container's first process it would ignore SIGTERM otherwise; `serve` drains instead.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_EXIT_TERMINATED))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        _run(command, os.environ)
    except KneescaleError as error:
        sys.stderr.write(f"kneescale_worker: {error}\n")
        _leave_message(termination_path(os.environ), {"error": str(error)})
        return _EXIT_ERROR
    return _EXIT_OK


def _run(command: str, env: Mapping[str, str]) -> None:
    settings = parse_settings(env)
    executor = make_executor(settings)
    if command == "serve":
        asyncio.run(serve(settings, executor))
    else:
        measured = asyncio.run(profile(settings, executor))
        _leave_message(settings.termination_path, measured.message())


def _leave_message(path: Path, document: Mapping[str, Any]) -> None:
    """Write what the operator reads from the container's status (at most 4096 bytes)."""
    path.write_text(json.dumps(document, separators=(",", ":")))
