"""The mad worker says so where it harmed nobody, so that no test passes without it."""

import socket
from pathlib import Path

import pytest

from e2e import mad_worker


@pytest.fixture
def path(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it looks for the agent."""
    path = short_dir / "dispatcher.sock"
    monkeypatch.setattr(mad_worker, "SOCKET", str(path))
    monkeypatch.setattr(mad_worker, "RAVES_S", 0.1)
    return path


def test_one_that_nobody_lets_in_fails(path: Path) -> None:
    with pytest.raises(SystemExit, match=f"nobody listens at {path}"):
        mad_worker.main()


def test_one_that_is_hung_up_on_has_raved_all_the_same(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(path))
        agent.listen(1)
        mad_worker.main()
