"""State in, event, state out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.units import NS_PER_S
from kneescale.mps import supervisor
from kneescale.mps.log_lines import Loss, ServerFailed
from kneescale.mps.protocol import Server, ServerState
from kneescale.mps.status import DaemonState, DaemonStatus
from kneescale.mps.supervisor import (
    LONGEST_SILENCE_NS,
    Action,
    Answered,
    Configure,
    Configured,
    EndDaemon,
    Ending,
    Event,
    Exited,
    Garbled,
    Refused,
    Silent,
    Start,
    Supervision,
    Tick,
    Unasked,
    step,
)

ACTIVE = Server(100, ServerState.ACTIVE, (7, 8))
FAULTY = replace(ACTIVE, state=ServerState.FAULT)
SILENT = Silent("no answer within 5 s")
RUNNING = Supervision(state=DaemonState.RUNNING, starts=1, clients=(7, 8), servers=(ACTIVE,))


def run(state: Supervision, *events: Event, now_ns: int = 0) -> tuple[Supervision, list[Action]]:
    done: list[Action] = []
    for event in events:
        state, actions = step(state, event, now_ns)
        done += actions
    return state, done


def test_a_daemon_is_started_asked_configured_and_then_runs() -> None:
    state, actions = run(Supervision(), Tick(), Answered(()), Configured())
    assert state.state is DaemonState.RUNNING
    assert actions == [Start(), Configure()]
    assert state.losses == 0


def test_a_daemon_that_takes_no_limits_serves_nobody() -> None:
    state, actions = run(Supervision(), Tick(), Answered(()), Refused("50.0, not 100"), Answered(()))
    assert (state.state, state.line) == (DaemonState.MISCONFIGURED, "50.0, not 100")
    assert actions == [Start(), Configure()]


def test_a_daemon_that_took_no_limits_is_told_them_again_each_minute() -> None:
    state, _ = run(Supervision(), Tick(), Answered(()), Refused("50.0, not 100"))
    state, actions = run(state, Answered(()), now_ns=60 * NS_PER_S - 1)
    assert actions == []
    state, actions = run(state, Answered(()), Refused("still not"), now_ns=60 * NS_PER_S)
    assert (state.state, state.line, actions) == (DaemonState.MISCONFIGURED, "still not", [Configure()])
    state, actions = run(state, Answered(()), Configured(), Answered(()), now_ns=120 * NS_PER_S)
    assert (state.state, actions) == (DaemonState.RUNNING, [Configure()])


def test_the_clients_of_a_daemon_that_died_are_listed_and_lost() -> None:
    state, _ = run(RUNNING, Exited(-9))
    assert (state.state, state.clients, state.losses) == (DaemonState.DOWN, (7, 8), 1)
    assert state.line == "the control daemon ended with status -9"


def test_a_daemon_that_never_served_took_nobody_along() -> None:
    assert run(Supervision(), Tick(), Exited(1))[0].losses == 0


def test_backoff_doubles_up_to_a_minute_and_begins_anew_after_a_steady_run() -> None:
    state, waits = Supervision(), []
    now_ns = 0
    for _ in range(8):
        state, actions = step(state, Tick(), now_ns)
        assert actions == (Start(),)
        state, _ = step(state, Exited(1), now_ns)
        waits.append(state.start_at_ns - now_ns)
        assert step(state, Tick(), state.start_at_ns - 1)[1] == ()
        now_ns = state.start_at_ns
    assert waits == [seconds * NS_PER_S for seconds in (1, 2, 4, 8, 16, 32, 60, 60)]
    state, _ = step(state, Tick(), now_ns)
    state, _ = step(state, Exited(1), now_ns + 60 * NS_PER_S)
    assert state.start_at_ns == now_ns + 61 * NS_PER_S


def test_a_daemon_that_is_silent_for_long_is_ended_and_a_late_answer_forgives() -> None:
    state, _ = run(RUNNING, SILENT)
    state, actions = run(state, Answered((ACTIVE,)), SILENT, now_ns=LONGEST_SILENCE_NS)
    assert actions == []
    assert run(state, SILENT, now_ns=2 * LONGEST_SILENCE_NS - 1)[1] == []
    assert run(state, SILENT, now_ns=2 * LONGEST_SILENCE_NS)[1] == [EndDaemon()]


def test_whoever_ended_a_daemon_says_so_and_why() -> None:
    state, _ = run(RUNNING, SILENT)
    state, _ = run(state, SILENT, now_ns=LONGEST_SILENCE_NS)
    ended, _ = run(state, Loss("a fatal GPU error"), Exited(-9, "the last line"), now_ns=LONGEST_SILENCE_NS)
    assert ended.line == (
        "the control daemon was ended by kneescale-mps: it answered nothing for 20 s (no answer within 5 s); "
        "its log ends with the last line"
    )
    again, _ = run(ended, Tick(), Exited(3), now_ns=2 * LONGEST_SILENCE_NS)
    assert again.line == "the control daemon ended with status 3"


@pytest.mark.parametrize("event", [Unasked("why"), Garbled("why")])
def test_of_one_that_cannot_be_asked_or_understood_nothing_is_changed(event: Event) -> None:
    state, actions = run(RUNNING, SILENT, event)
    assert (state, actions) == (replace(RUNNING, unclear="why"), [])
    assert run(state, SILENT, now_ns=LONGEST_SILENCE_NS)[1] == [], "the silence begins anew"
    assert run(state, Answered((ACTIVE,)))[0] == RUNNING


def test_one_that_starts_is_told_its_limits_though_it_cannot_be_understood() -> None:
    starting, _ = run(Supervision(), Tick())
    assert run(starting, Garbled("no list"))[1] == [Configure()]
    assert run(starting, Unasked("cannot run it"))[1] == []


MISCONFIGURED, _ = run(
    Supervision(), Tick(), Answered(()), Refused("50.0, not 100"), Answered((ACTIVE,)), now_ns=1
)


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (Exited(-9), DaemonState.DOWN),
        (Loss("a fatal GPU error"), DaemonState.FAULTED),
        (ServerFailed(100, "Server 100 exited with status 1"), DaemonState.FAULTED),
        (Answered((FAULTY,)), DaemonState.FAULTED),
    ],
)
def test_clients_of_a_daemon_that_took_no_limits_are_lost_like_any(event: Event, state: DaemonState) -> None:
    lost, _ = run(MISCONFIGURED, event, Loss("another line"), now_ns=2)
    assert (lost.state, lost.losses, lost.clients) == (state, 1, (7, 8))


def test_after_a_fault_a_daemon_that_took_no_limits_is_told_them_again() -> None:
    lost, _ = run(MISCONFIGURED, Loss("a fatal GPU error"))
    over, actions = run(lost, Answered(()))
    assert (over.state, actions) == (DaemonState.MISCONFIGURED, [Configure()])
    assert run(over, Configured(), Loss("a fatal GPU error"), Answered(()))[0].state is DaemonState.RUNNING


STATUS = DaemonStatus(
    DaemonState.RUNNING,
    "2026-11-25T23:19:49Z",
    losses=3,
    line="a fatal GPU error",
    clients=(7,),
    written_ns=5,
)


@pytest.mark.parametrize(
    ("before", "losses"),
    [
        (STATUS, 4),
        (replace(STATUS, clients=()), 3),
        # Its time is still to come: it ran before the node started.
        (replace(STATUS, written_ns=11), 3),
        # They were counted, or left.
        (replace(STATUS, state=DaemonState.DOWN), 3),
    ],
)
def test_a_program_that_is_started_anew_counts_the_clients_of_before(
    before: DaemonStatus, losses: int
) -> None:
    state = supervisor.after(before, now_ns=10)
    assert (state.state, state.losses) == (DaemonState.DOWN, losses)
    assert state.line == "the program of the daemons was started anew; before: a fatal GPU error"
    assert supervisor.after(replace(before, line=state.line), now_ns=10).line == state.line


def test_a_program_that_is_started_anew_says_so_where_there_is_nothing_else_to_say() -> None:
    line = "the program of the daemons was started anew"
    assert supervisor.after(replace(STATUS, line=""), now_ns=10).line == line
    assert supervisor.after(replace(STATUS, line=line), now_ns=10).line == line


@pytest.mark.parametrize("first", [Answered((FAULTY,)), Loss("a fatal GPU error")])
def test_a_fault_is_one_loss_however_many_tell_of_it(first: Event) -> None:
    state, _ = run(RUNNING, first, Loss("another fatal line"), Answered((FAULTY,)))
    assert (state.state, state.losses, state.clients) == (DaemonState.FAULTED, 1, (7, 8))


@pytest.mark.parametrize("state", [ServerState.ACTIVE, ServerState.UNKNOWN])
def test_a_server_that_died_took_its_clients_along(state: ServerState) -> None:
    known, _ = run(RUNNING, Answered((replace(ACTIVE, state=state),)))
    died, _ = run(known, ServerFailed(100, "Server 100 exited with status 1"))
    assert (died.state, died.losses, died.line) == (DaemonState.FAULTED, 1, "Server 100 exited with status 1")


def _failed_starts(state: Supervision, count: int) -> Supervision:
    """After so many servers that never had a client, though the daemon listed them."""
    for pid in range(200, 200 + count):
        starting = Server(pid, ServerState.INITIALIZING, ())
        state, actions = run(state, Answered((starting,)), ServerFailed(pid, f"Server {pid} exited"))
        assert actions == []
    return state


def test_servers_that_cannot_start_lose_nobody_and_say_what_to_do() -> None:
    idle = replace(RUNNING, clients=(), servers=())
    assert _failed_starts(idle, 2).state is DaemonState.RUNNING
    state = _failed_starts(idle, 3)
    assert (state.state, state.losses) == (DaemonState.SERVERLESS, 0)
    assert (
        "3 servers in a row did not start (Server 202 exited): delete the pod of kneescale-mps" in state.line
    )
    assert run(state, Exited(1))[0].losses == 0


def test_a_server_that_starts_after_all_serves() -> None:
    state, _ = run(_failed_starts(replace(RUNNING, servers=()), 3), Answered(()), Answered((ACTIVE,)))
    assert (state.state, state.clients) == (DaemonState.RUNNING, (7, 8))
    assert _failed_starts(replace(state, servers=()), 2).state is DaemonState.RUNNING, "counted anew"


def test_a_fault_is_over_when_its_clients_are_gone_and_the_server_takes_new_ones() -> None:
    faulted, _ = run(RUNNING, Answered((FAULTY,)))
    still, _ = run(faulted, Answered((replace(ACTIVE, clients=(8,)),)))
    assert still.state is DaemonState.FAULTED
    over, _ = run(still, Answered((replace(ACTIVE, clients=(9,)),)))
    assert (over.state, over.clients, over.losses) == (DaemonState.RUNNING, (9,), 1)


def test_a_second_fault_counts_again() -> None:
    over, _ = run(RUNNING, Loss("one"), Answered((replace(ACTIVE, clients=(9,)),)))
    again, _ = run(over, Loss("two"))
    assert (again.losses, again.line) == (2, "two")


EVENTS = st.sampled_from(
    [
        Tick(),
        Exited(1),
        Answered(()),
        Answered((ACTIVE,)),
        Answered((FAULTY,)),
        SILENT,
        Unasked("cannot run it"),
        Garbled("no list"),
        Configured(),
        Refused("no"),
        Loss("fatal"),
        Loss("fatal"),
        ServerFailed(100, "served"),
        ServerFailed(200, "never did"),
        Ending("quit"),
        Ending("leave", 1),
    ]
)


@given(st.lists(st.tuples(EVENTS, st.integers(0, 10 * NS_PER_S)), max_size=40))
def test_whatever_happens_starts_are_of_what_is_down_and_losses_never_fall(
    history: list[tuple[Event, int]],
) -> None:
    state, now_ns = Supervision(), 0
    for event, passed_ns in history:
        now_ns += passed_ns
        before = state
        state, actions = supervisor.step(before, event, now_ns)
        assert before.losses <= state.losses <= before.losses + 1
        assert (Start() in actions) == (
            event == Tick() and before.state is DaemonState.DOWN and now_ns >= before.start_at_ns
        )
        assert state.starts - before.starts == actions.count(Start())
