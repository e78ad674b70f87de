"""Keepers of a fake daemon that is a real process, with faults to order."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kneescale.core.units import NS_PER_S
from kneescale.mps import protocol
from kneescale.mps.control import PROGRAM, ControlProgram, DaemonSilentError
from kneescale.mps.keeper import DaemonKeeper
from kneescale.mps.partition_files import PartitionFiles, forget_others
from kneescale.mps.paths import pipe_dir
from kneescale.mps.sm_partitions import SmPartitions
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
        return self.turn_at(time.monotonic_ns() + later_ns)

    def turn_at(self, now_ns: int) -> DaemonStatus:
        self._keeper.turn(now_ns)
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
    rig.control.ask("fake log There is no memory left")
    rig.control.ask("fake die 3")
    down = rig.reach(DaemonState.DOWN)
    assert (down.clients, down.losses) == ((7, 8), 1)
    assert down.line.startswith("the control daemon ended with status 3; its log ends with [")
    assert down.line.endswith("] There is no memory left")
    assert rig.reach(DaemonState.RUNNING).restarts == 1


def test_when_clients_lost_their_contexts_last_is_told(rig: Rig) -> None:
    assert rig.reach(DaemonState.RUNNING).lost_ns == 0
    before_ns = time.monotonic_ns()
    rig.control.ask("fake die 3")
    assert before_ns < rig.reach(DaemonState.DOWN).lost_ns < time.monotonic_ns()


@pytest.mark.parametrize(("clients", "losses"), [("7 8", 1), ("", 0)])
def test_a_daemon_after_another_tells_who_was_born_before_it(
    state_dir: Path, make_keeper: MakeKeeper, rig: Rig, clients: str, losses: int
) -> None:
    rig.reach(DaemonState.RUNNING)
    rig.control.ask(f"fake server 100 ACTIVE {clients}")
    rig.turn()
    before_ns = time.monotonic_ns()
    status = Rig(state_dir, make_keeper(WANTED)).turn()
    assert (status.losses, status.lost_ns > before_ns) == (losses, True)
    assert status.line == "the program of the daemons was started anew"


def test_a_fault_is_told_with_its_line_and_nobody_is_terminated_for_it(rig: Rig) -> None:
    rig.reach(DaemonState.RUNNING)
    rig.control.ask("fake server 100 ACTIVE 7 8")
    rig.turn()
    rig.control.ask("fake log Client {PID: 8, Context: 1} encountered a fatal GPU error.")
    rig.control.ask("fake server 100 FAULT 7 8")
    status = rig.reach(DaemonState.FAULTED)
    assert status.line.endswith("Client {PID: 8, Context: 1} encountered a fatal GPU error.")
    assert rig.control.ask(protocol.list_clients(100)) == "7\n8"
    assert (status.losses, status.clients) == (1, (7, 8))
    rig.control.ask("fake server 100 ACTIVE 9")
    assert rig.reach(DaemonState.RUNNING).clients == (9,)


def test_a_server_that_died_is_known_from_the_log_alone(rig: Rig) -> None:
    rig.reach(DaemonState.RUNNING)
    rig.control.ask("fake server 100 ACTIVE 7")
    rig.turn()
    rig.control.ask("fake log Server 100 exited with status 1")
    wait_until(lambda: rig.turn().losses == 1, "the line is read")
    assert rig.turn().line.endswith("Server 100 exited with status 1")


def test_a_limit_that_is_ignored_is_noticed(
    state_dir: Path, make_keeper: MakeKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_DEAF", "1")
    rig = Rig(state_dir, make_keeper(WANTED))
    assert rig.reach(DaemonState.MISCONFIGURED).line == "the active thread percentage is '50.0', not 100"


def test_a_status_that_cannot_be_written_ends_nothing_and_is_written_later(
    rig: Rig, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig.reach(DaemonState.RUNNING)
    obstacle = status_path(state_dir, UUID).with_name(".status.json.tmp")
    obstacle.mkdir()
    rig.control.ask("fake server 100 ACTIVE 7")
    caplog.clear()
    assert [rig.turn().clients, rig.turn().clients] == [(), ()]
    (warning,) = caplog.messages
    assert str(obstacle) in warning
    obstacle.rmdir()
    assert rig.turn().clients == (7,)


def test_an_answer_that_is_no_text_is_an_answer(state_dir: Path) -> None:
    (state_dir / "bin" / PROGRAM).write_text("#!/bin/sh\nprintf '10\\377'\n")
    assert ControlProgram(state_dir).ask(protocol.LIST_SERVERS) == "10\N{REPLACEMENT CHARACTER}"


@pytest.fixture
def static(state_dir: Path, make_keeper: MakeKeeper) -> Rig:
    return Rig(state_dir, make_keeper(WantedDaemon(UUID, 16 * 1024, is_static=True)))


@pytest.fixture
def files(state_dir: Path) -> PartitionFiles:
    return PartitionFiles(state_dir, UUID)


def told(files: PartitionFiles, claim: str) -> str | None:
    path = files.folder(claim) / "id"
    return path.read_text() if path.exists() else None


def test_partitions_are_made_for_claims_that_ask_and_their_ids_told(
    static: Rig, files: PartitionFiles
) -> None:
    files.ask("one", 2, os.getuid())
    static.reach(DaemonState.RUNNING)
    files.ask("two", 5, os.getuid())
    static.turn()
    assert (told(files, "one"), told(files, "two")) == (f"{UUID}/Dx4A1", f"{UUID}/Dx4A2")


def test_a_partition_is_made_once_those_who_had_its_sms_are_gone(
    static: Rig, state_dir: Path, files: PartitionFiles
) -> None:
    files.ask("one", 10, os.getuid())
    files.ask("two", 10, os.getuid())
    static.reach(DaemonState.RUNNING)
    (served,) = [claim for claim in ("one", "two") if told(files, claim)]
    (waits,) = {"one", "two"} - {served}
    static.control.ask("fake occupy Dx4A1")
    forget_others(state_dir, {waits})
    static.turn()
    assert told(files, waits) is None, "a client is in it still"
    static.control.ask("fake occupy")
    static.turn()
    assert told(files, waits) == f"{UUID}/Dx4A2"


def test_a_partition_that_cannot_be_told_holds_up_no_status_and_is_told_later(
    static: Rig, files: PartitionFiles
) -> None:
    static.reach(DaemonState.RUNNING)
    files.ask("one", 2, os.getuid())
    obstacle = files.folder("one") / ".id.tmp"
    obstacle.mkdir()
    static.control.ask("fake server 100 ACTIVE 7")
    assert static.turn().clients == (7,)
    obstacle.rmdir()
    static.turn()
    assert told(files, "one") == f"{UUID}/Dx4A1"


@pytest.mark.parametrize("turns", [0, 1])
def test_a_claim_that_is_prepared_again_is_told_again(
    static: Rig, state_dir: Path, files: PartitionFiles, turns: int
) -> None:
    files.ask("one", 2, os.getuid())
    static.reach(DaemonState.RUNNING)
    static.control.ask("fake occupy Dx4A1")
    forget_others(state_dir, ())
    for _ in range(turns):
        static.turn()
    files.ask("one", 2, os.getuid())
    static.turn()
    assert told(files, "one") == f"{UUID}/Dx4A1"


def test_a_file_that_is_not_whole_harms_nobody_else(static: Rig, files: PartitionFiles) -> None:
    for claim in ("one", "two"):
        files.ask(claim, 2, os.getuid())
    (files.folder("one") / "chunks").write_text("")
    static.reach(DaemonState.RUNNING)
    assert (told(files, "one"), told(files, "two")) == (None, f"{UUID}/Dx4A1")


def test_after_a_daemons_end_nobody_is_told_of_its_partitions_but_of_new_ones(
    static: Rig, state_dir: Path, files: PartitionFiles
) -> None:
    files.ask("one", 2, os.getuid())
    files.ask("two", 3, os.getuid())
    static.reach(DaemonState.RUNNING)
    forget_others(state_dir, {"two"})
    static.control.ask("fake die 3")
    static.reach(DaemonState.DOWN)
    assert told(files, "two") is None
    static.reach(DaemonState.RUNNING)
    assert told(files, "two") == f"{UUID}/Dx4A1"


def test_a_program_that_is_started_again_tells_nobody_of_partitions_that_are_gone(
    state_dir: Path, make_keeper: MakeKeeper, files: PartitionFiles
) -> None:
    files.ask("one", 2, os.getuid())
    files.tell("one", f"{UUID}/Old1")
    make_keeper(WantedDaemon(UUID, 16 * 1024, is_static=True))
    assert told(files, "one") is None


class SecondProcess:
    """A daemon that ends at once, since there is one already, but is found to have ended a little late."""

    def __init__(self) -> None:
        self._looks: list[int | None] = []

    def start(self) -> None:
        self._looks = [None, 1]

    def exit_status(self) -> int | None:
        return self._looks.pop(0) if self._looks else None

    def new_lines(self) -> list[str]:
        return []

    def kill(self) -> None: ...

    def wait(self, deadline_s: float) -> bool:
        return True


def test_another_daemons_answers_are_not_taken_for_those_of_one_that_ended(
    rig: Rig, files: PartitionFiles
) -> None:
    rig.reach(DaemonState.RUNNING)
    told: list[DaemonStatus] = []
    partitions = SmPartitions(UUID, files, rig.control)
    second = DaemonKeeper(WANTED, SecondProcess(), rig.control, partitions, told.append)
    for seconds in range(6):
        second.turn(time.monotonic_ns() + 2 * seconds * NS_PER_S)
    assert {status.state for status in told} == {DaemonState.STARTING, DaemonState.DOWN}
    assert {status.losses for status in told} == {0}


def test_a_daemon_that_hangs_is_ended_when_it_is_wanted_no_more(
    state_dir: Path, make_keeper: MakeKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = make_keeper(WANTED)
    rig = Rig(state_dir, keeper)
    rig.reach(DaemonState.RUNNING)
    rig.control.ask("fake server 100 ACTIVE 7 8")
    rig.turn()
    rig.control.ask("fake hang")
    monkeypatch.setattr("kneescale.mps.control._DEADLINE_S", 0.2)
    monkeypatch.setattr("kneescale.mps.keeper._QUIT_S", 0.1)
    keeper.quit()
    assert keeper.has_ended(deadline_s=20)
    status = read_status(status_path(state_dir, UUID))
    assert status is not None
    assert (status.state, status.losses) == (DaemonState.DOWN, 1)


def test_a_program_that_cannot_be_started_now_is_tried_again_later(
    state_dir: Path, make_keeper: MakeKeeper
) -> None:
    (state_dir / "bin" / PROGRAM).chmod(0o644)
    rig = Rig(state_dir, make_keeper(WANTED))
    assert rig.turn().state is DaemonState.DOWN
    assert rig.turn(2 * NS_PER_S).restarts == 1


def test_a_status_is_told_again_before_it_is_old(rig: Rig) -> None:
    rig.reach(DaemonState.RUNNING)
    now_ns = time.monotonic_ns() + 60 * NS_PER_S
    first = rig.turn_at(now_ns)
    assert rig.turn_at(now_ns + 5 * NS_PER_S) == first
    again = rig.turn_at(now_ns + 11 * NS_PER_S)
    assert again.written_ns > first.written_ns
    assert replace(again, written_ns=first.written_ns) == first


def test_a_daemon_that_was_told_to_end_is_down(state_dir: Path, make_keeper: MakeKeeper) -> None:
    keeper = make_keeper(WANTED)
    Rig(state_dir, keeper).reach(DaemonState.RUNNING)
    keeper.quit()
    status = read_status(status_path(state_dir, UUID))
    assert status is not None
    assert (status.state, status.line) == (DaemonState.DOWN, "the control daemon was told to end")


def test_a_daemon_that_hangs_is_ended(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.reach(DaemonState.RUNNING)
    rig.control.ask("fake hang")
    monkeypatch.setattr("kneescale.mps.control._DEADLINE_S", 0.2)
    with pytest.raises(DaemonSilentError, match="no answer to 'get_server_list' within 0 s"):
        rig.control.ask(protocol.LIST_SERVERS)
    assert rig.turn().state is DaemonState.RUNNING
    rig.turn(LONGEST_SILENCE_NS)
    assert rig.reach(DaemonState.DOWN).line.startswith(
        "the control daemon was ended by kneescale-mps: it answered nothing for 20 s "
        "(no answer to 'get_server_list' within 0 s); its log ends with ["
    )
