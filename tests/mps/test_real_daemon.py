"""The protocol as the real daemon of Debian's nvidia-cuda-mps speaks it; no GPU is needed, none is used."""

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from kneescale.mps import protocol
from kneescale.mps.control import ControlProgram, DaemonSilentError
from kneescale.mps.keeper import DaemonKeeper
from kneescale.mps.partition_files import PartitionFiles
from kneescale.mps.paths import pipe_dir
from kneescale.mps.protocol import DaemonAnswerError, ServerState
from kneescale.mps.status import DaemonState, DaemonStatus, read_status, status_path
from kneescale.mps.wanted import WantedDaemon
from tests.mps.conftest import UUID, WANTED, MakeKeeper
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("real_program")


def _turn(state_dir: Path, keeper: DaemonKeeper) -> DaemonStatus:
    keeper.turn(time.monotonic_ns())
    status = read_status(status_path(state_dir, UUID))
    assert status is not None
    return status


def _reach(state_dir: Path, keeper: DaemonKeeper, state: DaemonState) -> DaemonStatus:
    wait_until(lambda: _turn(state_dir, keeper).state is state, f"the daemon is {state}")
    return _turn(state_dir, keeper)


@pytest.fixture
def control(state_dir: Path, make_keeper: MakeKeeper) -> ControlProgram:
    """The way to a daemon that runs."""
    _reach(state_dir, make_keeper(WANTED), DaemonState.RUNNING)
    return ControlProgram(pipe_dir(state_dir, UUID))


def test_it_starts_takes_its_limits_and_has_no_server_yet(control: ControlProgram) -> None:
    assert protocol.parse_pids(control.ask(protocol.LIST_SERVERS)) == ()
    protocol.check_memory_limit(control.ask(protocol.READ_MEMORY_LIMIT), WANTED.memory_limit_mebibytes)


@pytest.mark.parametrize("percent", [0, 150])
def test_a_percentage_out_of_range_is_ignored_in_silence_and_noticed(
    control: ControlProgram, percent: int
) -> None:
    protocol.check_percentage(control.ask(protocol.set_percentage(50)), 50)
    with pytest.raises(DaemonAnswerError, match=rf"is '50\.0', not {percent}"):
        protocol.check_percentage(control.ask(protocol.set_percentage(percent)), percent)


def test_a_memory_limit_of_1500_mebibytes_reads_back_as_1_gibibyte(control: ControlProgram) -> None:
    control.ask(protocol.set_memory_limit(1500))
    protocol.check_memory_limit(control.ask(protocol.READ_MEMORY_LIMIT), 1500)


def test_it_is_too_old_to_tell_a_servers_state(control: ControlProgram) -> None:
    assert protocol.parse_server_state(control.ask(protocol.server_status(1))) is ServerState.UNKNOWN


def test_a_server_that_cannot_start_without_a_gpu_loses_nobody_and_only_the_log_tells(
    state_dir: Path, make_keeper: MakeKeeper
) -> None:
    keeper = make_keeper(WANTED)
    _reach(state_dir, keeper, DaemonState.RUNNING)
    control = ControlProgram(pipe_dir(state_dir, UUID))

    def failed() -> bool:
        # Not answered while the one before it is not over.
        with suppress(DaemonSilentError):
            assert control.ask(f"start_server -uid {Path().stat().st_uid}") == ""
        return _turn(state_dir, keeper).state is DaemonState.SERVERLESS

    wait_until(failed, "the log told of the end of several")
    status = _turn(state_dir, keeper)
    assert status.losses == 0
    assert "exited with status 1" in status.line


def test_static_partitions_are_refused_by_a_daemon_before_cuda_13_1(
    state_dir: Path, make_keeper: MakeKeeper
) -> None:
    files = PartitionFiles(state_dir, UUID)
    files.ask("one", 2, os.getuid())
    keeper = make_keeper(WantedDaemon(UUID, 16 * 1024, is_static=True))
    wait_until(lambda: _turn(state_dir, keeper).state is not DaemonState.STARTING, "it started or did not")
    assert not (files.folder("one") / "id").exists()


def test_it_ends_when_asked(state_dir: Path, make_keeper: MakeKeeper) -> None:
    keeper = make_keeper(WANTED)
    _reach(state_dir, keeper, DaemonState.RUNNING)
    keeper.quit()
    assert _turn(state_dir, keeper).state is DaemonState.DOWN
