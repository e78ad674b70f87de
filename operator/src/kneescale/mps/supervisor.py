"""When a daemon is started, configured and given up: a state machine, pure; events in, actions out.

A client is never stopped or killed from here: killing one in the middle of a kernel can leave the others
undefined (NVIDIA, Multi-Process Service, "Client Early Termination").
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

from kneescale.core.backoff import Backoff
from kneescale.core.units import NS_PER_S
from kneescale.mps.log_lines import Loss, ServerFailed
from kneescale.mps.protocol import Server, ServerState
from kneescale.mps.status import DaemonState

#: Between the end of a daemon and its next start...
_BACKOFF = Backoff(first_s=1, longest_s=60)
#: ...and from the beginning again once it ran for so long.
_STEADY_NS = 60 * NS_PER_S
#: A daemon that answered nothing for so long hangs: its answers are a matter of milliseconds.
LONGEST_SILENCE_NS = 20 * NS_PER_S
#: A daemon that did not take a limit is told it again after so long.
_CONFIGURE_AGAIN_NS = 60 * NS_PER_S
#: So many servers in a row that did not start are no accident.
_FAILED_STARTS = 3


@dataclass(frozen=True, slots=True)
class Tick:
    """Time went on."""


@dataclass(frozen=True, slots=True)
class Exited:
    """The daemon's process ended; `last_line` is the last of its log, empty where it has none."""

    status: int
    last_line: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """The daemon answered which servers it has."""

    servers: tuple[Server, ...]


@dataclass(frozen=True, slots=True)
class Silent:
    """The daemon did not answer in time."""


@dataclass(frozen=True, slots=True)
class Configured:
    """Limits are set and read back."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The daemon did not take a limit."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ending:
    """The daemon was told to end, and takes no new clients; `losses` as it counts for those that it has."""

    line: str
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Start:
    """Start the daemon."""


@dataclass(frozen=True, slots=True)
class Configure:
    """Set its limits and read them back."""


@dataclass(frozen=True, slots=True)
class EndDaemon:
    """End the daemon, which hangs; Exited comes of it."""


Event: TypeAlias = Tick | Exited | Answered | Silent | Configured | Refused | Ending | Loss | ServerFailed
Action: TypeAlias = Start | Configure | EndDaemon


@dataclass(frozen=True, slots=True)
class Supervision:
    """All that is known of one daemon; `losses`, `line` and `clients` as in DaemonStatus."""

    state: DaemonState = DaemonState.DOWN
    #: When it is started again, and when it was started last.
    start_at_ns: int = 0
    started_ns: int = 0
    #: Runs that ended since one was steady, that one included.
    ends: int = 0
    starts: int = 0
    #: When it is told its limits again, where it did not take them.
    configure_at_ns: int = 0
    #: Since when it does not answer; None while it does.
    silent_since_ns: int | None = None
    losses: int = 0
    line: str = ""
    clients: tuple[int, ...] = ()
    servers: tuple[Server, ...] = ()
    #: Servers that did not start since one did.
    failed_starts: int = 0


Step: TypeAlias = tuple[Supervision, tuple[Action, ...]]


def step(now: Supervision, event: Event, now_ns: int) -> Step:
    """The state after `event` at `now_ns` (monotonic), and what to do about it."""
    match event:
        case Tick():
            return _tick(now, now_ns)
        case Exited():
            return _exited(now, event, now_ns), ()
        case Answered(servers):
            return _answered(replace(now, silent_since_ns=None), servers, now_ns)
        case Silent():
            return _silent(now, now_ns)
        case Configured():
            return replace(now, state=DaemonState.RUNNING), ()
        case Refused(reason):
            again_ns = now_ns + _CONFIGURE_AGAIN_NS
            return replace(now, state=DaemonState.MISCONFIGURED, line=reason, configure_at_ns=again_ns), ()
        case Ending(line, losses):
            return replace(now, state=DaemonState.DOWN, line=line, losses=now.losses + losses), ()
        case Loss():
            return _lost(now, event)
        case ServerFailed():
            return _server_failed(now, event)


def _tick(now: Supervision, now_ns: int) -> Step:
    if now.state is not DaemonState.DOWN or now_ns < now.start_at_ns:
        return now, ()
    started = replace(now, state=DaemonState.STARTING, started_ns=now_ns, starts=now.starts + 1)
    return started, (Start(),)


def _exited(now: Supervision, exited: Exited, now_ns: int) -> Supervision:
    steady = now_ns - now.started_ns >= _STEADY_NS
    ends = 1 if steady else now.ends + 1
    served = now.state in (DaemonState.RUNNING, DaemonState.FAULTED)
    last_line = f"; its log ends with {exited.last_line}" if exited.last_line else ""
    return replace(
        now,
        state=DaemonState.DOWN,
        start_at_ns=now_ns + round(NS_PER_S * _BACKOFF.wait_s(ends)),
        ends=ends,
        # Without its control daemon a server takes no new clients, even if it lives on: all start anew.
        losses=now.losses + served,
        line=f"the control daemon ended with status {exited.status}{last_line}",
        servers=(),
        silent_since_ns=None,
    )


def _silent(now: Supervision, now_ns: int) -> Step:
    if now.silent_since_ns is None:
        return replace(now, silent_since_ns=now_ns), ()
    if now_ns - now.silent_since_ns < LONGEST_SILENCE_NS:
        return now, ()
    return replace(now, silent_since_ns=now_ns), (EndDaemon(),)


def _answered(now: Supervision, servers: tuple[Server, ...], now_ns: int) -> Step:
    is_refused = now.state is DaemonState.MISCONFIGURED
    if now.state is DaemonState.STARTING or (is_refused and now_ns >= now.configure_at_ns):
        return now, (Configure(),)
    clients = tuple(client for server in servers for client in server.clients)
    faulty = [server for server in servers if server.state is ServerState.FAULT]
    seen = replace(now, servers=servers, failed_starts=0 if any(map(_serves, servers)) else now.failed_starts)
    if now.state is DaemonState.SERVERLESS and not seen.failed_starts:
        return replace(seen, state=DaemonState.RUNNING, clients=clients), ()
    if faulty and now.state is DaemonState.RUNNING:
        return _lost(
            replace(seen, clients=clients), Loss(f"server {faulty[0].pid} is in state {ServerState.FAULT}")
        )
    if now.state is DaemonState.FAULTED:
        # The clients of then stay listed until the fault is over: until they, all of them, are gone.
        over = not faulty and not set(clients) & set(now.clients)
        return (replace(seen, state=DaemonState.RUNNING, clients=clients) if over else seen), ()
    return replace(seen, clients=clients), ()


def _lost(now: Supervision, loss: Loss) -> Step:
    """Count a loss once, though status and several lines tell of it."""
    if now.state is not DaemonState.RUNNING:
        return now, ()
    return replace(now, state=DaemonState.FAULTED, losses=now.losses + 1, line=loss.line), ()


def _server_failed(now: Supervision, failed: ServerFailed) -> Step:
    """One that served takes its clients along; one that never did has none.

    Servers fail to start where the container has device files and libraries of another driver than the one
    that is loaded: it has those of its own start.
    """
    if any(server.pid == failed.pid and _serves(server) for server in now.servers):
        return _lost(now, Loss(failed.line))
    failed_starts = now.failed_starts + 1
    if now.state is not DaemonState.RUNNING or failed_starts < _FAILED_STARTS:
        return replace(now, failed_starts=failed_starts), ()
    line = (
        f"{failed_starts} servers in a row did not start ({failed.line}): delete the pod of kneescale-mps on "
        "this node, so that its container gets the driver of now"
    )
    return replace(now, failed_starts=failed_starts, state=DaemonState.SERVERLESS, line=line), ()


def _serves(server: Server) -> bool:
    """Whether it came so far as to have clients; a daemon that is too old does not tell a server's state."""
    return bool(server.clients) or server.state in (ServerState.ACTIVE, ServerState.FAULT)
