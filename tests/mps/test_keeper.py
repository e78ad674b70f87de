"""Keepers of a fake daemon that is a real process, with faults to order."""

import time
from pathlib import Path

import pytest

from kneescale.core.units import NS_PER_S
from kneescale.mps import protocol
from kneescale.mps.control import ControlProgram, DaemonSilentError
from kneescale.mps.keeper import DaemonKeeper
from kneescale.mps.paths import pipe_dir
from kneescale.mps.status import DaemonState, DaemonStatus, read_status, status_path
from kneescale.mps.supervisor import LONGEST_SILENCE_NS
from kneescale.mps.wanted import WantedDaemon
from tests.mps.conftest import UUID, WANTED, MakeKeeper
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("fake_program")


class Rig:
    """One keeper, turned until its status is as a test wants it."""

    def __init__(self, state_dir: Path, keeper: DaemonKeeper) -> None:
        self._status_path = status_path(state_dir, UUID)
        self._keeper = keeper
        self.control = ControlProgram(pipe_dir(state_dir, UUID))

    def turn(self, later_ns: int = 0) -> DaemonStatus:
        self._keeper.turn(time.monotonic_ns() + later_ns)
        status = read_status(self._status_path)
        assert status is not None
        return status

    def reach(self, state: DaemonState) -> DaemonStatus:
        wait_until(lambda: self.turn().state is state, f"the daemon is {state}")
        return self.turn()


@pytest.fixture
def rig(state_dir: Path, make_keeper: MakeKeeper) -> Rig:
    return Rig(state_dir, make_keeper(WANTED))


def test_a_daemon_runs_with_its_limits_set(rig: Rig) -> None:
    status = rig.reach(DaemonState.RUNNING)
    assert (status.restarts, status.losses, status.clients) == (0, 0, ())
    assert rig.control.ask("get_default_device_pinned_mem_limit 0") == "16G"


def test_clients_are_listed(rig: Rig) -> None:
    rig.reach(DaemonState.RUNNING)
    rig.control.ask("fake server 100 ACTIVE 7 8")
    assert rig.turn().clients == (7, 8)


def test_a_daemon_that_died_is_started_again_and_its_clients_named(rig: Rig) -> None:
    rig.reach(DaemonState.RUNNING)
    rig.control.ask("fake server 100 ACTIVE 7 8")
    rig.turn()
    rig.control.ask("fake die 3")
    down = rig.reach(DaemonState.DOWN)
    assert (down.clients, down.losses) == ((7, 8), 1)
    assert down.line == "the control daemon ended with status 3"
    assert rig.reach(DaemonState.RUNNING).restarts == 1


def test_a_fault_is_told_with_its_line_and_nobody_is_terminated_for_it(rig: Rig) -> None:
    rig.reach(DaemonState.RUNNING)
    rig.control.ask("fake server 100 ACTIVE 7 8")
    rig.turn()
    rig.control.ask("fake log Client {PID: 8, Context: 1} encountered a fatal GPU error.")
    rig.control.ask("fake server 100 FAULT 7 8")
    status = rig.reach(DaemonState.FAULTED)
    wait_until(lambda: "fatal GPU error" in rig.turn().line or "FAULT" in rig.turn().line, "it is told")
    assert rig.control.ask(protocol.list_clients(100)) == "7\n8"
    assert (status.losses, status.clients) == (1, (7, 8))
    rig.control.ask("fake server 100 ACTIVE 9")
    assert rig.reach(DaemonState.RUNNING).clients == (9,)


def test_a_server_that_died_is_known_from_the_log_alone(rig: Rig) -> None:
    rig.reach(DaemonState.RUNNING)
    rig.control.ask("fake log Server 100 exited with status 1")
    wait_until(lambda: rig.turn().losses == 1, "the line is read")
    assert rig.turn().line.endswith("Server 100 exited with status 1")


def test_a_limit_that_is_ignored_is_noticed(
    state_dir: Path, make_keeper: MakeKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_DEAF", "1")
    rig = Rig(state_dir, make_keeper(WANTED))
    assert rig.reach(DaemonState.MISCONFIGURED).line == "the active thread percentage is '50.0', not 100"


def test_partitions_are_made_and_their_ids_told(state_dir: Path, make_keeper: MakeKeeper) -> None:
    rig = Rig(state_dir, make_keeper(WantedDaemon(UUID, 16 * 1024, (2, 5))))
    partitions = rig.reach(DaemonState.RUNNING).partitions
    assert [(part.chunks, part.id) for part in partitions] == [(2, f"{UUID}/Dx4A1"), (5, f"{UUID}/Dx4A2")]


def test_a_program_that_is_not_there_is_tried_again_later(
    state_dir: Path, make_keeper: MakeKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(state_dir))
    rig = Rig(state_dir, make_keeper(WANTED))
    assert rig.turn().state is DaemonState.DOWN
    assert rig.turn(2 * NS_PER_S).restarts == 1


def test_a_daemon_that_hangs_is_ended(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.reach(DaemonState.RUNNING)
    rig.control.ask("fake hang")
    monkeypatch.setattr("kneescale.mps.control._DEADLINE_S", 0.2)
    with pytest.raises(DaemonSilentError, match="no answer to 'get_server_list' within 0 s"):
        rig.control.ask(protocol.LIST_SERVERS)
    assert rig.turn().state is DaemonState.RUNNING
    rig.turn(LONGEST_SILENCE_NS)
    assert rig.reach(DaemonState.DOWN).line == "the control daemon ended with status -9"
