"""This checkout of the sources: where it is, what the package is made of, and what installs from it."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE_SOURCES = ("pyproject.toml", "uv.lock", "README.md", "LICENSE", "operator/src", "worker_image/src")


def uv() -> Path:
    """Return the uv program of the environment that runs this."""
    return Path(sys.executable).with_name("uv")
