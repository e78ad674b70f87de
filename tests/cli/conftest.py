"""A scenario on disk, as each test module writes it."""

from pathlib import Path

import pytest


@pytest.fixture
def scenario(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The module's SCENARIO, beside p.csv with its PROFILES."""
    (tmp_path / "p.csv").write_text(request.module.PROFILES)
    path = tmp_path / "s.yaml"
    path.write_text(request.module.SCENARIO)
    return path
