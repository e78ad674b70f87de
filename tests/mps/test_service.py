"""Which daemons there are follows the agent's files."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from kneescale.api.codec import encode
from kneescale.core.errors import InvalidInputError
from kneescale.mps import keeper, service
from kneescale.mps.control import ControlProgram
from kneescale.mps.daemon_process import LocalProcess
from kneescale.mps.keeper import DaemonKeeper
from kneescale.mps.partition_files import PartitionFiles
from kneescale.mps.paths import pipe_dir
from kneescale.mps.service import MpsService, keeper_of
from kneescale.mps.sm_partitions import SmPartitions
from kneescale.mps.status import DaemonState, DaemonStatus, read_status, status_path
from kneescale.mps.wanted import WantedDaemon, read_wanted, wanted_path
from tests.mps.conftest import UUID, WANTED
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("fake_program")

OTHER = WantedDaemon(UUID.replace("1", "2"), 1024)


def _want(state_dir: Path, wanted: WantedDaemon) -> None:
    path = wanted_path(state_dir, wanted.uuid)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(encode(wanted)))


def _is(state_dir: Path, uuid: str, state: DaemonState) -> bool:
    status = read_status(status_path(state_dir, uuid))
    return status is not None and status.state is state


def _status(state_dir: Path) -> DaemonStatus:
    status = read_status(status_path(state_dir, UUID))
    assert status is not None
    return status


def _restarts(state_dir: Path) -> int:
    return _status(state_dir).restarts


def _losses(state_dir: Path) -> int:
    return _status(state_dir).losses


@pytest.fixture
def running(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MpsService]:
    monkeypatch.setattr(service, "_TURN_S", 0.02)
    ending = Event()
    made = MpsService(state_dir, lambda wanted: keeper_of(state_dir, wanted))
    thread = Thread(target=made.run, args=(ending,))
    thread.start()
    yield made
    ending.set()
    thread.join()


@pytest.mark.usefixtures("running")
def test_each_gpu_that_is_asked_for_gets_its_daemon(state_dir: Path) -> None:
    for wanted in (WANTED, OTHER):
        _want(state_dir, wanted)
    for wanted in (WANTED, OTHER):
        wait_until(lambda w=wanted: _is(state_dir, w.uuid, DaemonState.RUNNING), "it runs")  # type: ignore[misc]


@pytest.mark.usefixtures("running")
def test_a_daemon_asked_for_otherwise_is_another_daemon(state_dir: Path) -> None:
    _want(state_dir, WANTED)
    wait_until(lambda: _is(state_dir, UUID, DaemonState.RUNNING), "it runs")
    files = PartitionFiles(state_dir, UUID)
    files.ask("one", 3, os.getuid())
    before_ns = time.monotonic_ns()
    _want(state_dir, WantedDaemon(UUID, 16 * 1024, is_static=True))
    wait_until((files.folder("one") / "id").exists, "there is a partition")
    # Whoever was a client of the first daemon has to start again; it ended with its last one, so none lost.
    assert (_losses(state_dir), _status(state_dir).lost_ns > before_ns) == (0, True)


@pytest.mark.usefixtures("running")
def test_a_memory_limit_that_changes_ends_no_daemon_and_is_for_the_next(state_dir: Path) -> None:
    _want(state_dir, WANTED)
    wait_until(lambda: _is(state_dir, UUID, DaemonState.RUNNING), "it runs")
    control = ControlProgram(pipe_dir(state_dir, UUID))
    control.ask("fake server 100 ACTIVE 7")
    _want(state_dir, WantedDaemon(UUID, 8 * 1024))
    _want(state_dir, OTHER)
    wait_until(lambda: _is(state_dir, OTHER.uuid, DaemonState.RUNNING), "the files were read again")
    assert control.ask("get_client_list 100") == "7"
    control.ask("fake die 3")
    wait_until(lambda: _restarts(state_dir) == 1 and _is(state_dir, UUID, DaemonState.RUNNING), "it is back")
    assert control.ask("get_default_device_pinned_mem_limit 0") == "8G"


@pytest.mark.usefixtures("running")
def test_a_daemon_that_ends_with_its_clients_is_followed_by_another_only_then(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_QUIT_S", 0.1)
    monkeypatch.setattr(keeper, "_LEAVE_S", 0.1)
    _want(state_dir, WANTED)
    wait_until(lambda: _is(state_dir, UUID, DaemonState.RUNNING), "it runs")
    control = ControlProgram(pipe_dir(state_dir, UUID))
    control.ask("fake stay")
    wanted_path(state_dir, UUID).unlink()
    wait_until(lambda: _losses(state_dir) == 1, "those who stay are told to leave")
    _want(state_dir, WANTED)
    _want(state_dir, OTHER)
    wait_until(lambda: _is(state_dir, OTHER.uuid, DaemonState.RUNNING), "the files were read again")
    assert _is(state_dir, UUID, DaemonState.DOWN)
    before_ns = time.monotonic_ns()
    control.ask("fake leave")
    wait_until(lambda: _is(state_dir, UUID, DaemonState.RUNNING), "the next one runs")
    assert (_losses(state_dir), _restarts(state_dir)) == (1, 0)
    # Whoever was started while there was none has to start again.
    assert _status(state_dir).lost_ns > before_ns


@pytest.mark.usefixtures("running")
def test_a_file_that_is_wrong_changes_nothing(state_dir: Path) -> None:
    _want(state_dir, WANTED)
    wait_until(lambda: _is(state_dir, UUID, DaemonState.RUNNING), "it runs")
    wanted_path(state_dir, UUID).write_text("{")
    _want(state_dir, OTHER)
    wait_until(lambda: _is(state_dir, OTHER.uuid, DaemonState.RUNNING), "the files were read again")
    assert _is(state_dir, UUID, DaemonState.RUNNING)


def test_a_gpu_that_is_not_asked_for_any_more_has_no_daemon(state_dir: Path, running: MpsService) -> None:
    _want(state_dir, WANTED)
    wait_until(lambda: _is(state_dir, UUID, DaemonState.RUNNING), "it runs")
    wanted_path(state_dir, UUID).unlink()
    wait_until(lambda: running.count == 0, "the daemon is gone")


class BrokenProcess(LocalProcess):
    """One that its keeper cannot cope with."""

    def new_lines(self) -> list[str]:
        raise RuntimeError("no such line")


def test_a_keeper_that_fails_ends_the_program_and_is_not_followed_by_another(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_TURN_S", 0.02)
    ending, made = Event(), list[WantedDaemon]()

    def make(wanted: WantedDaemon) -> DaemonKeeper:
        if wanted in made:
            ending.set()
        made.append(wanted)
        if wanted == OTHER:
            return keeper_of(state_dir, wanted)
        control = ControlProgram(pipe_dir(state_dir, UUID))
        partitions = SmPartitions(UUID, PartitionFiles(state_dir, UUID), control)
        return DaemonKeeper(wanted, BrokenProcess([], {}, []), control, partitions, lambda status: None)

    for wanted in (WANTED, OTHER):
        _want(state_dir, wanted)
    assert not MpsService(state_dir, make).run(ending)
    assert sorted(made, key=str) == sorted([WANTED, OTHER], key=str)


def test_without_nvidias_program_the_program_ends_for_another_container(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "_TURN_S", 0.02)
    monkeypatch.setenv("PATH", str(state_dir))
    _want(state_dir, WANTED)
    assert not MpsService(state_dir, lambda wanted: keeper_of(state_dir, wanted)).run(Event())
    assert "nvidia-cuda-mps-control is not in this container" in caplog.text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"uuid": "../../etc"}, "uuid must match"),
        ({"memoryLimitMebibytes": 0}, "memoryLimitMebibytes must be"),
        ({"isStatic": 1}, "isStatic must be"),
    ],
)
def test_a_wrong_file_says_what_to_change(state_dir: Path, change: dict[str, object], says: str) -> None:
    path = state_dir / "wanted.json"
    path.write_text(json.dumps({"uuid": UUID, "memoryLimitMebibytes": 1024} | change))
    with pytest.raises(InvalidInputError, match=says):
        read_wanted(path)
