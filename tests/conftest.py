"""What all tests share."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's business, and no test's.
settings.register_profile("kneescale", deadline=None)
settings.load_profile("kneescale")


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A folder of the test's own; pytest's tmp_path can be longer than a socket's path may be."""
    path = Path(tempfile.mkdtemp(prefix="ks"))
    yield path
    shutil.rmtree(path)
