"""Lanes that are real processes, with the emulated executor inside."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import psutil
import pytest

from kneescale.core.surfaces.catalog import lookup
from kneescale.core.wire import Probe
from kneescale_worker.emulated_executor import EmulatedExecutor
from kneescale_worker.errors import ContextLostError, ExecutorError, LoadError
from kneescale_worker.executor import make_executor
from kneescale_worker.lane_pool import LanePool
from kneescale_worker.lane_processes import LaneDiedError, LaneProcess, LaneProcesses
from kneescale_worker.settings import parse_settings
from tests.waiting import wait_until
from tests.worker.conftest import StartWorker
from tests.worker.fake_agent import FakeAgent
from tests.worker.faulty_lane import FOLDER
from tests.worker.oip import grpc
from tests.worker.process import TERMS

_ENV = {
    "KNEESCALE_MODEL_NAME": "alexnet",
    "KNEESCALE_MODEL_URI": "catalog://alexnet",
    "KNEESCALE_MODEL_FORMAT": "Emulated",
    "KNEESCALE_MAX_BATCH": "16",
    "KNEESCALE_SOCKET": "/run/kneescale/dispatcher.sock",
    "KNEESCALE_BACKEND": "emulated",
    "KNEESCALE_PRODUCT": "V100-SXM2-16GB",
    "KNEESCALE_TIER": "mps-processes",
}
_INPUTS = [np.arange(8, dtype=np.float32).reshape(2, 4)]


def _lanes(monkeypatch: pytest.MonkeyPatch, lanes: str, **changes: str) -> LaneProcesses:
    env = {**_ENV, "KNEESCALE_LANES": lanes, **changes}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    executor = make_executor(parse_settings(env))
    assert isinstance(executor, LaneProcesses)
    return executor


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[LaneProcesses]:
    """Two lanes of 20 GPU% and one of 50."""
    executor = _lanes(monkeypatch, "20,20,50")
    executor.load()
    executor.warm_up()
    yield executor
    executor.close()


def _children() -> dict[int, int]:
    """PIDs of this process's lanes, and their GPU%."""
    found = {}
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess, KeyError):  # it has ended meanwhile
            if "kneescale_worker.lane_main" in child.cmdline():
                found[child.pid] = int(child.environ()["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"])
    return found


def _with_faulty_lanes(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have all processes that are lanes from here on run `faulty_lane.py`."""
    program, faulty = folder / "python", Path(__file__).with_name("faulty_lane.py")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {faulty} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setenv(FOLDER, str(folder))


def _kill_process(gpu_percent: int) -> int:
    """Kill the process of the only lane of that GPU%; its PID."""
    (victim,) = (pid for pid, percent in _children().items() if percent == gpu_percent)
    os.kill(victim, signal.SIGKILL)
    return victim


def _kill_lane(pool: LaneProcesses, gpu_percent: int) -> None:
    """The same, of one that is idle, until batches are told."""
    _kill_process(gpu_percent)
    wait_until(lambda: not _serves(pool, gpu_percent), "the lane is dead")


def _serves(pool: LaneProcesses, gpu_percent: int) -> bool:
    with suppress(ExecutorError):
        return np.array_equal(pool.run(gpu_percent, _INPUTS)[0], _INPUTS[0])
    return False


def _is_lost(pool: LaneProcesses) -> bool:
    try:
        pool.run(20, _INPUTS)
    except ContextLostError:
        return True
    return False


def test_each_entry_is_a_process_with_its_percentage_and_runs_batches(pool: LaneProcesses) -> None:
    assert sorted(_children().values()) == [20, 20, 50]
    (output,) = pool.run(20, _INPUTS)
    assert np.array_equal(output, _INPUTS[0])
    assert pool.emulated


def test_lanes_warm_up_one_after_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _with_faulty_lanes(monkeypatch, tmp_path)
    executor = _lanes(monkeypatch, "20,20,50")
    with closing(executor):
        executor.load()
    assert (tmp_path / "notes").read_text().split() == ["begins", "ends"] * 3


def test_closing_in_a_warm_up_waits_for_that_lane_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _with_faulty_lanes(monkeypatch, tmp_path)
    (tmp_path / "hold").touch()
    executor = _lanes(monkeypatch, "20,20,50")
    with ThreadPoolExecutor(2) as threads:
        loading = threads.submit(executor.load)
        wait_until((tmp_path / "notes").exists, "the first lane warms up")
        ending = threads.submit(executor.close)
        try:
            wait_until(lambda: len(_children()) == 1, "the others end")
        finally:
            (tmp_path / "hold").unlink()
        ending.result()
        with pytest.raises(LoadError):
            loading.result()
    assert (tmp_path / "notes").read_text().split() == ["begins", "ends"]


def test_of_three_batches_for_a_pool_of_two_the_third_waits(pool: LaneProcesses) -> None:
    lasts_s = lookup("alexnet", _ENV["KNEESCALE_PRODUCT"]).latency_ms(20, 2) / 1000
    with ThreadPoolExecutor(3) as threads:
        began_s = time.monotonic()
        runs = [threads.submit(pool.run, 20, [_INPUTS[0] + value]) for value in range(3)]
        outputs = [run.result()[0] for run in runs]
        took_s = time.monotonic() - began_s
    assert took_s >= 2 * lasts_s
    for value, output in enumerate(outputs):
        assert np.array_equal(output, _INPUTS[0] + value)


def test_an_idle_process_that_died_is_started_again_before_a_batch_finds_out(pool: LaneProcesses) -> None:
    victim = _kill_process(50)
    wait_until(lambda: victim not in _children() and len(_children()) == 3, "a new process is there")
    assert np.array_equal(pool.run(20, _INPUTS)[0], _INPUTS[0])
    wait_until(lambda: _serves(pool, 50), "the new process is ready")


def test_a_batch_for_a_lane_that_is_started_again_fails_at_once(
    pool: LaneProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm = Event()
    warm_up = LaneProcess.warm_up
    monkeypatch.setattr(LaneProcess, "warm_up", lambda lane: warm.wait() and warm_up(lane))
    _kill_lane(pool, 50)
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(pool.run, 50, _INPUTS)
        wait([run], timeout=5)
        warm.set()
        with pytest.raises(ExecutorError, match="no lane of 50 GPU% is alive"):
            run.result()
    wait_until(lambda: _serves(pool, 50), "the new process is ready")


def test_a_batch_that_waits_for_a_lane_fails_when_the_last_one_dies() -> None:
    pool = LanePool([(20, "first"), (20, "second"), (50, "other")])
    assert [pool.take(20), pool.take(20)] == ["first", "second"]
    pool.lose(20, "first")
    with ThreadPoolExecutor(1) as threads:
        waits = threads.submit(pool.take, 20)
        pool.lose(20, "second")
        with pytest.raises(ExecutorError, match="no lane of 20 GPU% is alive"):
            waits.result()
    assert pool.take(50) == "other"
    pool.revive(20, "second")
    assert pool.take(20) == "second"


def test_a_dead_lane_that_a_batch_has_is_retired_once_that_gives_it_back() -> None:
    pool = LanePool([(20, "dead"), (20, "other")])
    assert pool.take(20) == "dead"
    with ThreadPoolExecutor(1) as threads:
        retires = threads.submit(pool.retire, 20, "dead")
        assert pool.take(20) == "other"
        pool.give_back(20, "dead")
        retires.result()
    pool.lose(20, "other")
    with pytest.raises(ExecutorError, match="no lane of 20 GPU% is alive"):
        pool.take(20)


def test_a_lane_that_lost_its_context_ends_and_is_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _with_faulty_lanes(monkeypatch, tmp_path)
    executor = _lanes(monkeypatch, "50")
    with closing(executor):
        executor.load()
        with pytest.raises(ExecutorError, match="too large"):
            executor.run(50, [_INPUTS[0] + 1001])
        assert _serves(executor, 50)
        with pytest.raises(LaneDiedError, match="the process of the lane of 50 GPU% ended"):
            executor.run(50, [_INPUTS[0] - 100])
        wait_until(lambda: _serves(executor, 50), "the new process is ready")


class _NoRoomAtFirst:
    """A machine that has no memory for a process the first times it is asked for one."""

    def __init__(self, times: int = 1) -> None:
        self._popen = subprocess.Popen
        self.refuses = times

    def __call__(self, *arguments: Any, **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401
        if self.refuses:
            self.refuses -= 1
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return self._popen(*arguments, **options)


def test_a_lane_that_could_not_be_started_again_at_once_is_later(
    pool: LaneProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = _NoRoomAtFirst()
    monkeypatch.setattr(subprocess, "Popen", machine)
    _kill_lane(pool, 50)
    wait_until(lambda: _serves(pool, 50), "the new process is ready")
    assert not machine.refuses


def test_a_worker_whose_lane_does_not_start_again_is_to_start_anew(
    pool: LaneProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kneescale_worker.lane_processes._PAUSES_S", (0, 0))
    monkeypatch.setattr(subprocess, "Popen", _NoRoomAtFirst(times=2))
    _kill_lane(pool, 50)
    wait_until(lambda: _is_lost(pool), "the lane is given up")
    with pytest.raises(ContextLostError, match=r"50 GPU% does not start again: .*Cannot allocate memory"):
        pool.run(20, _INPUTS)


def test_a_worker_without_room_for_a_lane_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = _lanes(monkeypatch, "50")
    monkeypatch.setattr(subprocess, "Popen", _NoRoomAtFirst())
    with pytest.raises(LoadError, match="the lane of 50 GPU% gets no process: Cannot allocate memory"):
        executor.load()
    executor.close()


def test_a_lane_that_is_not_there_is_an_error(pool: LaneProcesses) -> None:
    with pytest.raises(ExecutorError, match="there is no lane of 40 GPU%; there are 20, 50"):
        pool.run(40, _INPUTS)


def test_closing_ends_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = _lanes(monkeypatch, "50")
    executor.load()
    assert len(_children()) == 1
    executor.close()
    assert _children() == {}


def test_closing_ends_a_process_that_still_loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loads_long = tmp_path / "python"
    loads_long.write_text("#!/bin/sh\nexec sleep 60\n")
    loads_long.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(loads_long))
    lane = LaneProcess(50, EmulatedExecutor.metadata, max_batch=4)
    lane.start()
    began_s = time.monotonic()
    lane.close()
    assert time.monotonic() - began_s < 30


def test_a_lane_that_was_closed_meanwhile_is_a_dead_one() -> None:
    lane = LaneProcess(50, EmulatedExecutor.metadata, max_batch=4)
    lane.start()
    lane.close()
    with pytest.raises(LoadError, match="the process of the lane of 50 GPU% ended"):
        lane.wait_loaded()
    with pytest.raises(LoadError, match="the process of the lane of 50 GPU% ended"):
        lane.warm_up()


def test_a_signal_does_not_cut_a_batch_off(pool: LaneProcesses) -> None:
    for pid in _children():
        os.kill(pid, signal.SIGTERM)
    assert np.array_equal(pool.run(50, _INPUTS)[0], _INPUTS[0])


def test_a_lane_that_cannot_load_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = _lanes(monkeypatch, "50")
    monkeypatch.setenv("KNEESCALE_PRODUCT", "K80")
    with pytest.raises(LoadError, match="K80"):
        executor.load()
    executor.close()


def test_a_profile_measures_all_lanes_in_its_own_process(start_worker: StartWorker) -> None:
    worker = start_worker("profile", {"KNEESCALE_TIER": "mps-processes"})
    with FakeAgent(worker.socket, TERMS) as agent:
        agent.wait_for(Probe)
        assert worker.children() == []


def test_a_worker_serves_from_lanes_in_processes_that_end_with_it(start_worker: StartWorker) -> None:
    worker = start_worker(env={"KNEESCALE_TIER": "mps-processes", "KNEESCALE_LANES": "40,40"})
    worker.wait_ready()
    tensor = grpc.InferInput("input", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 4), np.float32))
    with grpc.InferenceServerClient(worker.grpc) as client:
        assert client.infer("alexnet", [tensor]).as_numpy("output").tolist() == [[1, 1, 1, 1]]
    lanes = [psutil.Process(pid) for pid in worker.children()]
    assert len(lanes) == 2
    worker.kill()
    wait_until(lambda: all(map(_has_ended, lanes)), "the lanes ended too")


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
