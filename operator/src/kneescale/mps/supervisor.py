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
from kneescale.mps.status import DaemonState, DaemonStatus

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
#: In these a daemon has clients, or may have them.
_SERVING = (DaemonState.RUNNING, DaemonState.FAULTED, DaemonState.MISCONFIGURED)
_ANEW = "the program of the daemons was started anew"
_BEFORE = "; before: "


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
    """The daemon did not answer in time, says `reason`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unasked:
    """Nobody could ask the daemon, says `reason`: it may be well."""

    reason: str


@dataclass(frozen=True, slots=True)
class Garbled:
    """The daemon answered, but what cannot be understood, says `reason`."""

    reason: str


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


Event: TypeAlias = (
    Tick
    | Exited
    | Answered
    | Silent
    | Unasked
    | Garbled
    | Configured
    | Refused
    | Ending
    | Loss
    | ServerFailed
)
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
    #: Whether it did not take its limits, also while it is FAULTED; and when it is told them again then.
    is_refused: bool = False
    configure_at_ns: int = 0
    #: Since when it does not answer; None while it does.
    silent_since_ns: int | None = None
    #: Why it was ended from here, until it has; empty where it was not.
    end_reason: str = ""
    #: Why nothing was learnt of it since it was heard last; empty where something was.
    unclear: str = ""
    losses: int = 0
    line: str = ""
    clients: tuple[int, ...] = ()
    servers: tuple[Server, ...] = ()
    #: Servers that did not start since one did.
    failed_starts: int = 0


Step: TypeAlias = tuple[Supervision, tuple[Action, ...]]


def after(before: DaemonStatus, now_ns: int) -> Supervision:
    """What is known to begin with of a GPU whose daemon of before had that status last.

    One that had clients took them along. One that is DOWN has them counted already, and one whose time is
    still to come ran before the node started.
    """
    has_clients = before.state is not DaemonState.DOWN and bool(before.clients)
    is_of_this_boot = before.written_ns <= now_ns
    last_line = before.line.removeprefix(_ANEW).removeprefix(_BEFORE)
    return Supervision(
        losses=before.losses + (has_clients and is_of_this_boot),
        line=f"{_ANEW}{_BEFORE}{last_line}" if last_line else _ANEW,
    )


def step(known: Supervision, event: Event, now_ns: int) -> Step:
    """The state after `event` at `now_ns` (monotonic), and what to do about it."""
    match event:
        case Tick():
            return _tick(known, now_ns)
        case Exited():
            return _exited(known, event, now_ns), ()
        case Answered(servers):
            return _answered(replace(known, silent_since_ns=None, unclear=""), servers, now_ns)
        case Silent(reason):
            return _silent(known, reason, now_ns)
        case Unasked(reason):
            return replace(known, silent_since_ns=None, unclear=reason), ()
        case Garbled(reason):
            heard = replace(known, silent_since_ns=None, unclear=reason)
            return heard, (Configure(),) if _is_to_be_configured(heard, now_ns) else ()
        case Configured():
            return replace(known, state=DaemonState.RUNNING, is_refused=False), ()
        case Refused(reason):
            return _refused(known, reason, now_ns), ()
        case Ending(line, losses):
            return replace(known, state=DaemonState.DOWN, line=line, losses=known.losses + losses), ()
        case Loss():
            return _lost(known, event)
        case ServerFailed():
            return _server_failed(known, event)


def _tick(known: Supervision, now_ns: int) -> Step:
    if known.state is not DaemonState.DOWN or now_ns < known.start_at_ns:
        return known, ()
    started = replace(known, state=DaemonState.STARTING, started_ns=now_ns, starts=known.starts + 1)
    return started, (Start(),)


def _exited(known: Supervision, exited: Exited, now_ns: int) -> Supervision:
    steady = now_ns - known.started_ns >= _STEADY_NS
    ends = 1 if steady else known.ends + 1
    reason = known.end_reason or f"the control daemon ended with status {exited.status}"
    last_line = f"; its log ends with {exited.last_line}" if exited.last_line else ""
    return replace(
        known,
        state=DaemonState.DOWN,
        start_at_ns=now_ns + round(NS_PER_S * _BACKOFF.wait_s(ends)),
        ends=ends,
        # Without its control daemon a server takes no new clients, even if it lives on: all start anew.
        losses=known.losses + (known.state in _SERVING),
        line=f"{reason}{last_line}",
        servers=(),
        silent_since_ns=None,
        end_reason="",
        unclear="",
    )


def _silent(known: Supervision, reason: str, now_ns: int) -> Step:
    if known.silent_since_ns is None:
        return replace(known, silent_since_ns=now_ns), ()
    if now_ns - known.silent_since_ns < LONGEST_SILENCE_NS:
        return known, ()
    end_reason = (
        "the control daemon was ended by kneescale-mps: it answered nothing for "
        f"{LONGEST_SILENCE_NS // NS_PER_S} s ({reason})"
    )
    return replace(known, silent_since_ns=now_ns, end_reason=end_reason), (EndDaemon(),)


def _refused(known: Supervision, reason: str, now_ns: int) -> Supervision:
    return replace(
        known,
        state=DaemonState.MISCONFIGURED,
        line=reason,
        is_refused=True,
        configure_at_ns=now_ns + _CONFIGURE_AGAIN_NS,
    )


def _is_to_be_configured(known: Supervision, now_ns: int) -> bool:
    if known.state is DaemonState.MISCONFIGURED:
        return now_ns >= known.configure_at_ns
    return known.state is DaemonState.STARTING


def _answered(known: Supervision, servers: tuple[Server, ...], now_ns: int) -> Step:
    if _is_to_be_configured(known, now_ns):
        return known, (Configure(),)
    clients = tuple(client for server in servers for client in server.clients)
    faulty = [server for server in servers if server.state is ServerState.FAULT]
    seen = replace(
        known, servers=servers, failed_starts=0 if any(map(_serves, servers)) else known.failed_starts
    )
    if known.state is DaemonState.SERVERLESS and not seen.failed_starts:
        return replace(seen, state=DaemonState.RUNNING, clients=clients), ()
    if known.state is DaemonState.FAULTED:
        # The clients of then stay listed until the fault is over: until they, all of them, are gone.
        over = not faulty and not set(clients) & set(known.clients)
        return _recovered(replace(seen, clients=clients)) if over else (seen, ())
    seen = replace(seen, clients=clients)
    if faulty:
        return _lost(seen, Loss(f"server {faulty[0].pid} is in state {ServerState.FAULT}"))
    return seen, ()


def _recovered(known: Supervision) -> Step:
    if known.is_refused:
        return replace(known, state=DaemonState.MISCONFIGURED), (Configure(),)
    return replace(known, state=DaemonState.RUNNING), ()


def _lost(known: Supervision, loss: Loss) -> Step:
    """Count a loss once, though status and several lines tell of it."""
    if known.state not in (DaemonState.RUNNING, DaemonState.MISCONFIGURED):
        return known, ()
    return replace(known, state=DaemonState.FAULTED, losses=known.losses + 1, line=loss.line), ()


def _server_failed(known: Supervision, failed: ServerFailed) -> Step:
    """One that served takes its clients along; one that never did has none.

    Servers fail to start where the container has device files and libraries of another driver than the one
    that is loaded: it has those of its own start.
    """
    if any(server.pid == failed.pid and _serves(server) for server in known.servers):
        return _lost(known, Loss(failed.line))
    failed_starts = known.failed_starts + 1
    if known.state is not DaemonState.RUNNING or failed_starts < _FAILED_STARTS:
        return replace(known, failed_starts=failed_starts), ()
    line = (
        f"{failed_starts} servers in a row did not start ({failed.line}): delete the pod of kneescale-mps on "
        "this node, so that its container gets the driver of now"
    )
    return replace(known, failed_starts=failed_starts, state=DaemonState.SERVERLESS, line=line), ()


def _serves(server: Server) -> bool:
    """Whether it came so far as to have clients; a daemon that is too old does not tell a server's state."""
    return bool(server.clients) or server.state in (ServerState.ACTIVE, ServerState.FAULT)
