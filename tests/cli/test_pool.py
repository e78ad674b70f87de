"""Jobs on all cores: what is told of them, and how they end."""

import os
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import pytest

from kneescale.cli import pool
from kneescale.cli.pool import run_all, telling
from kneescale.core.errors import InfeasibleError
from tests.waiting import wait_until


def until_told(pipe: Path) -> str:
    """Ends when somebody writes into the pipe."""
    return pipe.read_text()


def fails() -> str:
    raise InfeasibleError("no room")


class Stderr:
    """Notes what is written, and lets the job end once it has been told of it `times` times."""

    def __init__(self, pipe: Path, times: int) -> None:
        self.lines: list[str] = []
        self._pipe, self._times = pipe, times

    def write(self, text: str) -> int:
        self.lines.append(text)
        if len(self.lines) == self._times:
            self._pipe.write_text("done")
        return len(text)

    def flush(self) -> None:
        pass


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_single_long_job_is_told_of_while_it_runs(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PROGRESS_S", 0.05)
    stderr = Stderr(pipe, times=3)
    monkeypatch.setattr("sys.stderr", stderr)
    assert run_all({"dstack": partial(until_told, pipe)}) == {"dstack": "done"}
    assert len(stderr.lines) >= 3
    assert stderr.lines[0].endswith(" s] dstack: running, 0 of 1 done\n")


def test_the_first_error_ends_jobs_that_would_run_on(pipe: Path) -> None:
    jobs: dict[str, Callable[[], str]] = {"wrong": fails, "for ever": partial(until_told, pipe)}
    with pytest.raises(InfeasibleError, match="no room"):
        run_all(jobs)
    wait_until(lambda: not active_children(), "no worker is left")


def test_results_come_in_the_order_of_the_jobs() -> None:
    jobs: dict[str, Callable[[], str]] = {str(number): partial(str, number) for number in range(5)}
    assert list(run_all(jobs).items()) == [(str(number), str(number)) for number in range(5)]


def test_what_this_process_does_is_told_of_too(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PROGRESS_S", 0.05)
    stderr = Stderr(pipe, times=3)
    monkeypatch.setattr("sys.stderr", stderr)
    with telling("GPUs"):
        assert until_told(pipe) == "done"
    assert stderr.lines[0].endswith(" s] GPUs: running\n")
    assert not [each for each in threading.enumerate() if "_tell_until" in each.name]
