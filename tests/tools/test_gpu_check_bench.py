"""The bench itself, with fake programs in place of CUDA and of MPS."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kneescale.mps.control import PROGRAM
from tests.mps import fake_control
from tools.gpu_check.bench import RealBench

_GPU = {"uuid": "GPU-1", "memory.total": "16384 MiB"}
_LIMIT = 3
#: A torch whose contexts are files, of which there are so many; one stays until its process has ended. Who
#: gets none has a second to wait for one: longer than any client takes that does not stand by.
_TORCH = f"""
import atexit, os, time, types
cuda = types.SimpleNamespace(synchronize=lambda: None)
def ones(count, device):
    until_s = time.monotonic() + 1
    while time.monotonic() < until_s:
        for place in range({_LIMIT}):
            path = os.path.join(os.environ["FAKE_CONTEXTS"], str(place))
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            atexit.register(os.unlink, path)
            return types.SimpleNamespace(mul_=lambda factor: None)
        time.sleep(0.02)
    raise RuntimeError("CUDA error: too many MPS clients")
"""


@pytest.fixture
def contexts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the fake torch has its contexts."""
    folder = tmp_path / "contexts"
    folder.mkdir()
    (tmp_path / "torch.py").write_text(_TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FAKE_CONTEXTS", str(folder))
    return folder


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealBench]:
    program = tmp_path / PROGRAM
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {fake_control.__file__} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    # Short enough for sockets.
    with tempfile.TemporaryDirectory(prefix="kng-") as folder:
        made = RealBench(_GPU, Path(folder), None)
        yield made
        made.close()


def test_clients_wait_for_each_other_and_those_beyond_the_limit_do_not_count(
    bench: RealBench, contexts: Path
) -> None:
    assert bench.at_once(_LIMIT + 2) == _LIMIT
    assert list(contexts.iterdir()) == []


def test_a_client_that_comes_too_late_does_not_count(
    bench: RealBench, contexts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.gpu_check.bench._STAND_BY_DEADLINE_S", 0)
    assert bench.at_once(1) == 0
    assert list(contexts.iterdir()) == []


def test_a_daemon_that_was_killed_is_followed_by_a_new_one(bench: RealBench) -> None:
    bench.start_daemon()
    assert bench.daemon().restarts == 0
    bench.kill_daemon()
    bench.start_daemon()
    assert bench.daemon().restarts == 1
