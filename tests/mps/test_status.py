"""What the daemons' program writes is read strictly."""

from pathlib import Path

import pytest

from kneescale.core.errors import InvalidInputError
from kneescale.mps.status import (
    DaemonState,
    DaemonStatus,
    read_status,
    status_path,
    write_status,
)

UUID = "GPU-5f1a0c1e-0000-4000-8000-000000000001"


def test_there_is_no_status_before_the_first(tmp_path: Path) -> None:
    assert read_status(status_path(tmp_path, UUID)) is None


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    status = DaemonStatus(
        DaemonState.FAULTED,
        "2026-11-25T23:19:49Z",
        restarts=1,
        losses=2,
        line="Server 100 exited with status 1",
        clients=(7, 8),
    )
    path = status_path(tmp_path, UUID)
    path.parent.mkdir(parents=True)
    write_status(path, status)
    assert read_status(status_path(tmp_path, UUID)) == status


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot read .*status.json"),
        ('{"state": "Fine", "since": "2026-11-25T23:19:49Z"}', "state must be one of"),
        ('{"state": "Down", "since": "2026-11-25T23:19:49Z", "losses": -1}', "losses must be"),
    ],
)
def test_a_wrong_status_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    path = status_path(tmp_path, UUID)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=says):
        read_status(status_path(tmp_path, UUID))
