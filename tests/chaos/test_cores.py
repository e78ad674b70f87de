"""The kernel's account of who waited for a core."""

import time
from pathlib import Path

import pytest

from e2e.chaos import cores
from e2e.chaos.cores import waited_s, watched_cores
from harness.wait import wait_until


def pressure(waited_us: int) -> str:
    return (
        f"some avg10=30.98 avg60=16.01 avg300=8.21 total={waited_us}\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
    )


def test_the_time_that_some_task_waited_is_read_in_seconds() -> None:
    assert waited_s(pressure(2_971_082_812)) == 2971.082812


def test_a_period_in_which_some_task_always_waited_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpu"
    file.write_text(pressure(0))
    monkeypatch.setattr(cores, "_PRESSURE", file)
    monkeypatch.setattr(cores, "PERIOD_S", 0.05)
    before_s = time.monotonic()
    with watched_cores() as short_s:
        later = tmp_path / "later"
        later.write_text(pressure(3_600_000_000))
        later.replace(file)
        wait_until(lambda: bool(short_s), "the period is noted", timeout_s=10.0)
    assert [at_s for at_s in short_s if before_s <= at_s <= time.monotonic()] == short_s
    assert len(short_s) == 1


def test_a_kernel_that_does_not_tell_explains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "_PRESSURE", Path("/nowhere"))
    with watched_cores() as short_s:
        pass
    assert short_s == []
