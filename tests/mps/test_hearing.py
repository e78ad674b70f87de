"""A daemon that is well but cannot be asked or understood; and one whose log is late."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kneescale.core.units import NS_PER_S
from kneescale.mps import protocol
from kneescale.mps.control import PROGRAM, ControlProgram, DaemonSilentError, NotAskedError
from kneescale.mps.keeper import DaemonKeeper
from kneescale.mps.partition_files import PartitionFiles
from kneescale.mps.sm_partitions import SmPartitions
from kneescale.mps.status import DaemonState, DaemonStatus
from kneescale.mps.supervisor import LONGEST_SILENCE_NS
from kneescale.mps.wanted import WantedDaemon
from tests.mps.conftest import UUID

FAULT = "[2026-11-26 06:47:53.096 Server   100] Client {PID: 8, Context: 1} encountered a fatal GPU error."

SERVER_DIED = "[2026-11-25 23:19:49.461 Control 22040] Server 100 exited with status 1"


class FakeProcess:
    """A process that ends only when it is killed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._status: int | None = None

    def start(self) -> None: ...

    def exit_status(self) -> int | None:
        status, self._status = self._status, None
        return status

    def new_lines(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines

    def kill(self) -> None:
        self._status = -9

    def wait(self, deadline_s: float) -> bool:
        return True


class FakeControl:
    """A daemon with two clients; it logs `logs_when_asked` the next time that it is asked."""

    def __init__(self, process: FakeProcess) -> None:
        self._process = process
        self.logs_when_asked: list[str] = []
        self.error: NotAskedError | None = None
        self.answers = {
            protocol.LIST_SERVERS: "100",
            protocol.server_status(100): "ACTIVE",
            protocol.list_clients(100): "7\n8",
            protocol.set_percentage(100): "100.0",
            protocol.READ_MEMORY_LIMIT: "16G",
        }

    def ask(self, command: str) -> str:
        if self.error is not None:
            raise self.error
        self._process.lines += self.logs_when_asked
        self.logs_when_asked = []
        return self.answers.get(command, "")


class Rig:
    """A keeper whose daemon runs."""

    def __init__(self, state_dir: Path, *, is_static: bool) -> None:
        self.process = FakeProcess()
        self.control = FakeControl(self.process)
        self._told: list[DaemonStatus] = []
        partitions = SmPartitions(UUID, PartitionFiles(state_dir, UUID), self.control)
        wanted = WantedDaemon(UUID, 16 * 1024, is_static)
        self._keeper = DaemonKeeper(wanted, self.process, self.control, partitions, self._told.append)
        self._now_ns = 0
        for _ in range(3):
            self.turn()
        assert self._told[-1].state is DaemonState.RUNNING

    def turn(self) -> DaemonStatus:
        self._now_ns += NS_PER_S
        self._keeper.turn(self._now_ns)
        return self._told[-1]


@pytest.fixture(params=[False, True], ids=["shared", "static"])
def rig(state_dir: Path, request: pytest.FixtureRequest) -> Rig:
    PartitionFiles(state_dir, UUID).ask("one", 2, os.getuid())
    return Rig(state_dir, is_static=request.param)


def _unasked(control: FakeControl) -> None:
    control.error = NotAskedError("cannot run it: Resource temporarily unavailable")


def _garbled(control: FakeControl) -> None:
    control.answers[protocol.list_clients(100)] = "PID\n7\n8"


@pytest.mark.parametrize(
    ("break_it", "line"),
    [
        (_unasked, "cannot run it: Resource temporarily unavailable"),
        (_garbled, "a list of PIDs should come, not 'PID | 7 | 8'"),
    ],
)
def test_a_daemon_that_is_well_is_not_ended_for_what_its_keeper_cannot_do(
    rig: Rig, caplog: pytest.LogCaptureFixture, break_it: Callable[[FakeControl], None], line: str
) -> None:
    well = rig.turn()
    break_it(rig.control)
    with caplog.at_level(logging.WARNING):
        statuses = [rig.turn() for _ in range(2 * LONGEST_SILENCE_NS // NS_PER_S)]
    assert {(each.state, each.losses, each.clients, each.line) for each in statuses} == {
        (DaemonState.RUNNING, 0, (7, 8), line)
    }
    said = [message for message in caplog.messages if "it goes on" in message]
    assert said == [f"{UUID}: it goes on: {line}"]
    rig.control.error = None
    rig.control.answers[protocol.list_clients(100)] = "7\n8"
    assert rig.turn().line == well.line == ""


def test_a_reason_that_nothing_can_be_learnt_hides_none_of_a_loss(rig: Rig) -> None:
    rig.process.lines.append(FAULT)
    _unasked(rig.control)
    status = rig.turn()
    assert status.line == f"{FAULT}; cannot run it: Resource temporarily unavailable"
    assert (status.state, status.losses) == (DaemonState.FAULTED, 1)


def test_a_faults_line_is_told_also_where_it_comes_while_the_daemon_is_asked(rig: Rig) -> None:
    rig.control.answers[protocol.server_status(100)] = "FAULT"
    rig.control.logs_when_asked = [FAULT]
    assert (rig.turn().losses, rig.turn().line) == (1, FAULT)


def test_a_line_that_is_newer_than_an_answer_is_not_taken_for_older(rig: Rig) -> None:
    rig.control.answers[protocol.LIST_SERVERS] = ""
    rig.turn()
    rig.control.answers[protocol.LIST_SERVERS] = "100"
    rig.control.logs_when_asked = [SERVER_DIED]
    assert rig.turn().losses == 0
    status = rig.turn()
    assert (status.losses, status.line) == (1, SERVER_DIED), "it had clients, said the answer"


@pytest.mark.usefixtures("fake_program")
def test_a_daemon_is_silent_only_where_somebody_asked(state_dir: Path) -> None:
    control = ControlProgram(state_dir)
    with pytest.raises(DaemonSilentError, match="Cannot find MPS control daemon process"):
        control.ask(protocol.LIST_SERVERS)
    (state_dir / "bin" / PROGRAM).chmod(0o644)
    with pytest.raises(NotAskedError, match="cannot run nvidia-cuda-mps-control: Permission denied"):
        control.ask(protocol.LIST_SERVERS)
