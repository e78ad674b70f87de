"""The package with its hot modules compiled, as in the agent's image: a folder for PYTHONPATH.

    PYTHONPATH=$(python -m tools.compiled) python ...

Built once for each content of the sources (docs/adr/0029); takes a minute, a C compiler and Python's headers.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from harness import cache
from harness.checkout import PACKAGE_SOURCES, ROOT, uv
from harness.debian import MissingPackagesError, ensure_packages
from harness.progress import Progress
from harness.runner import CommandError, Shell

_COMPILER = {"build-essential": "gcc"}
_ENABLED = {"HATCH_BUILD_HOOK_ENABLE_MYPYC": "1"}


def main() -> int:
    """Print the folder."""
    try:
        folder = compiled_package(Progress(sys.stderr))
    except (CommandError, MissingPackagesError) as error:
        sys.stderr.write(f"cannot compile the package: {error}\n")
        return 2
    sys.stdout.write(f"{folder}\n")
    return 0


def compiled_package(progress: Progress) -> Path:
    """The folder, built where it is not there yet.

    Raises MissingPackagesError where there is no C compiler and none can be installed, CommandError.
    """
    sources = [ROOT / source for source in PACKAGE_SOURCES]
    key = cache.content_hash(sys.implementation.cache_tag, *sources)

    def build(folder: Path) -> None:
        ensure_packages(_COMPILER, Shell(), progress)
        # From a copy: the compiler leaves what it makes beside the sources.
        with tempfile.TemporaryDirectory() as copy, progress.step("compile the core", about_s=50):
            for source in sources:
                _copy(source, Path(copy) / source.relative_to(ROOT))
            options = ["--quiet", "--no-deps", f"--python={sys.executable}", f"--target={folder}"]
            command = [str(uv()), "pip", "install", *options, copy]
            Shell().run(command, env={**os.environ, **_ENABLED})

    return cache.made_by_content(cache.home() / "compiled" / key, build)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    else:
        shutil.copy(source, target)


if __name__ == "__main__":
    sys.exit(main())
