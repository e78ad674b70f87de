"""The operator may have as many files open as the node lets it."""

import resource
from collections.abc import Iterator

import pytest

from kneescale.controller import open_files


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """The soft limit is below the hard one, for this test alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = min(1024, hard - 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lower, hard))
    yield lower, hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one(limits: tuple[int, int]) -> None:
    open_files.allow_as_many_as_possible()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (limits[1], limits[1])
