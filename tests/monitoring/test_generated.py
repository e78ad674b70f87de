"""What is generated of the metrics is up to date."""

from pathlib import Path

import pytest

from tools.monitoring.generated import COMPONENT, generated


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.name)
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    assert path.read_text() == generated()[path], "run `make monitoring`"


def test_no_dashboard_is_left_over() -> None:
    assert set((COMPONENT / "dashboards").iterdir()) <= generated().keys()
