"""The Debian packages that the harness needs."""

import os
import shutil
from collections.abc import Mapping

from harness.progress import Progress
from harness.runner import CommandError, Runner


class MissingPackagesError(RuntimeError):
    """Packages are missing and cannot be installed from here."""


def ensure_packages(needed: Mapping[str, str], runner: Runner, progress: Progress) -> None:
    """Install the packages that are missing.

    `needed` maps each package to a file or program that it brings: where that exists, however it came
    there, the package is not installed. Raises MissingPackagesError if that needs root.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = [package for package, brings in needed.items() if shutil.which(brings, path=path) is None]
    if not missing:
        return
    if os.geteuid() != 0:
        raise MissingPackagesError(f"as root, run: apt-get install {' '.join(missing)}")
    with progress.step(f"install Debian packages {' '.join(missing)}", about_s=40):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        try:
            runner.run(["apt-get", "update", "-qq"], env=env)
            runner.run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing], env=env)
        except CommandError as error:
            raise MissingPackagesError(f"cannot install {' '.join(missing)}: {error}") from error
