"""State in, event, state out."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.units import NS_PER_S
from kneescale.mps import supervisor
from kneescale.mps.log_lines import Loss, ServerFailed
from kneescale.mps.protocol import Server, ServerState
from kneescale.mps.status import DaemonState
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
    Refused,
    Silent,
    Start,
    Supervision,
    Tick,
    step,
)

ACTIVE = Server(100, ServerState.ACTIVE, (7, 8))
FAULTY = replace(ACTIVE, state=ServerState.FAULT)
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
    state, _ = run(RUNNING, Silent())
    state, actions = run(state, Answered((ACTIVE,)), Silent(), now_ns=LONGEST_SILENCE_NS)
    assert actions == []
    assert run(state, Silent(), now_ns=2 * LONGEST_SILENCE_NS - 1)[1] == []
    assert run(state, Silent(), now_ns=2 * LONGEST_SILENCE_NS)[1] == [EndDaemon()]


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
        Silent(),
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
