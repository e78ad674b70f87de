"""Entering the SMs that were reserved for a worker."""

import os
from pathlib import Path
from threading import Thread

import pytest

from kneescale_worker import sm_partition
from kneescale_worker.errors import LoadError
from kneescale_worker.sm_partition import enter_partition
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken back after each test."""
    monkeypatch.setenv("CUDA_MPS_SM_PARTITION", "")


def test_a_worker_waits_for_its_partition_and_enters_it(tmp_path: Path) -> None:
    entering = Thread(target=enter_partition, args=(tmp_path,))
    entering.start()
    unfinished = tmp_path / ".id.tmp"
    unfinished.write_text("GPU-74d4/Dx4A")
    unfinished.replace(tmp_path / "id")
    wait_until(lambda: not entering.is_alive(), "it entered")
    assert os.environ["CUDA_MPS_SM_PARTITION"] == "GPU-74d4/Dx4A"


def test_one_that_gets_none_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sm_partition, "_LONGEST_WAIT_S", 0.1)
    with pytest.raises(LoadError, match=r"no SM partition was made .* the MPS daemons' container"):
        enter_partition(tmp_path)
