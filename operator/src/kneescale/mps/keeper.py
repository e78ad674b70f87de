"""One daemon, kept: its process and its answers on one side, the supervisor on the other."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from kneescale.api.conditions import format_time
from kneescale.mps import protocol, supervisor
from kneescale.mps.control import Control, DaemonSilentError, NoAnswerError, NotAskedError
from kneescale.mps.daemon_process import DaemonProcess, DaemonStartError
from kneescale.mps.log_lines import is_about_a_question, parse_line
from kneescale.mps.protocol import DaemonAnswerError, Server, ServerState
from kneescale.mps.sm_partitions import SmPartitions
from kneescale.mps.status import REPEAT_NS, DaemonState, DaemonStatus
from kneescale.mps.supervisor import Action, Event, Supervision
from kneescale.mps.wanted import WantedDaemon

_log = logging.getLogger(__name__)
#: The daemon's: a client's own variable can lower it and never raise it (NVIDIA, Multi-Process Service).
_DEFAULT_PERCENT = 100
_LONGEST_LINE = 1024
#: A pod gets 30 s to end: for clients to go by themselves, then for those that were told to.
_QUIT_S, _LEAVE_S = 20.0, 5.0
#: What ends like a program that is not there: the shells' status for it.
_NOT_STARTED = 127


class DaemonKeeper:
    """Keeps the daemon that `wanted` asks for; `publish` gets its status when it changed, and now and then.

    `before`: the last status of the daemon of before, if there was one. Whoever was born in its time starts
    anew, also where no client of it is known and so no loss is counted: one may have come since.
    """

    def __init__(
        self,
        wanted: WantedDaemon,
        process: DaemonProcess,
        control: Control,
        partitions: SmPartitions,
        publish: Callable[[DaemonStatus], None],
        before: DaemonStatus | None = None,
    ) -> None:
        self.wanted = wanted
        self._log = logging.LoggerAdapter(_log, {"device": wanted.uuid})
        self._process = process
        self._control = control
        self._partitions = partitions
        self._publish = publish
        now_ns = time.monotonic_ns()
        self._known = supervisor.after(before, now_ns) if before else Supervision()
        self._lost_ns = now_ns if before else 0
        self._since = format_time(datetime.now(UTC))
        self._published: DaemonStatus | None = None
        self._now_ns = 0
        #: Of the log of the daemon that runs, or ended.
        self._last_line = ""
        #: What could not be done at the last turn.
        self._undone: set[Callable[[], None]] = set()

    def turn(self, now_ns: int) -> None:
        """Look at process, log and daemon, do what follows, and publish; a matter of seconds at the worst.

        What cannot be written, on a full disk for example, is written at a later turn.

        Raises ProgramMissingError.
        """
        self._now_ns = now_ns
        for event in self._events():
            self._step(event, now_ns)
        self._try(self._keep_partitions)
        self._try(self._publish_status)

    def quit(self) -> None:
        """Have the daemon end when its clients have; it takes no new ones from now on.

        Those that stay for long are told to leave, by a loss: nobody but them holds up the next daemon.
        """
        heard = self._asked_to_quit()
        self._end(supervisor.Ending("the control daemon was told to end"))
        if self._process.wait(_QUIT_S):
            return
        if not heard:
            self._process.kill()
            losses = 1 if self._known.clients else 0
            self._end(supervisor.Ending("the control daemon did not hear that it is to end: killed", losses))
            self._process.wait(_QUIT_S)
            return
        self._log.warning("%s: clients are still connected; the daemon ends with them", self.wanted.uuid)
        self._end(supervisor.Ending("the control daemon was told to end, and its clients are to leave it", 1))
        self._process.wait(_LEAVE_S)

    def tell(self, now_ns: int) -> None:
        """Publish its status, though nothing is done for it any more."""
        self._now_ns = now_ns
        self._try(self._publish_status)

    def has_ended(self, deadline_s: float) -> bool:
        """Whether the daemon's process has, after `deadline_s` at the latest."""
        return self._process.wait(deadline_s)

    def _asked_to_quit(self) -> bool:
        try:
            self._control.ask(protocol.QUIT)
        except NoAnswerError as error:
            self._log.info("%s: %s", self.wanted.uuid, error)
            return False
        return True

    def _end(self, event: supervisor.Ending) -> None:
        now_ns = time.monotonic_ns()
        self._step(event, now_ns)
        self.tell(now_ns)

    def _events(self) -> Iterator[Event]:
        # Asked first: all that it logged is there to be read then.
        ended = self._process.exit_status()
        yield from self._logged()
        if ended is not None:
            yield supervisor.Exited(ended, self._last_line)
        is_old = self._known.state is not DaemonState.DOWN
        yield supervisor.Tick()
        # One that ends at once, since another is there, would have its answers from that one: it gets a turn
        # to do so, and counts as ended whatever was answered meanwhile.
        if is_old:
            answer = self._asked()
            ended = self._process.exit_status()
            if ended is not None or _is_fault(answer):
                # The line that says why may have come since; all else that did is newer than the answer.
                yield from self._logged()
            yield answer if ended is None else supervisor.Exited(ended, self._last_line)

    def _logged(self) -> Iterator[Event]:
        for line in self._process.new_lines():
            self._log.info("%s: %s", self.wanted.uuid, line)
            if not is_about_a_question(line):
                self._last_line = line
            if (loss := parse_line(line)) is not None:
                yield loss

    def _asked(self) -> Event:
        try:
            return supervisor.Answered(self._servers())
        except NoAnswerError as error:
            if isinstance(error, DaemonSilentError):
                self._log.warning("%s: %s", self.wanted.uuid, error)
            return _without_answer(error)
        except DaemonAnswerError as error:
            return supervisor.Garbled(str(error))

    def _servers(self) -> tuple[Server, ...]:
        pids = protocol.parse_pids(self._control.ask(protocol.LIST_SERVERS))
        return tuple(
            Server(
                pid,
                protocol.parse_server_state(self._control.ask(protocol.server_status(pid))),
                protocol.parse_pids(self._control.ask(protocol.list_clients(pid))),
            )
            for pid in pids
        )

    def _try(self, do: Callable[[], None]) -> None:
        """Do what can be done; what cannot is said once."""
        try:
            do()
        except (OSError, NoAnswerError) as error:
            if do not in self._undone:
                self._log.warning("%s: tried again every second: %s", self.wanted.uuid, error)
            self._undone.add(do)
        else:
            self._undone.discard(do)

    def _publish_status(self) -> None:
        status, before, now_ns = self._status(), self._published, self._now_ns
        if before is not None and now_ns - before.written_ns < REPEAT_NS:
            status = replace(status, written_ns=before.written_ns)
        if status != before:
            status = replace(status, written_ns=now_ns)
            self._publish(status)
            self._published = status

    def _keep_partitions(self) -> None:
        if not self.wanted.is_static:
            return
        if self._known.state is DaemonState.DOWN:
            self._partitions.lost()
        elif self._known.state is DaemonState.RUNNING:
            self._partitions.keep()

    def _step(self, event: Event, now_ns: int) -> None:
        before = self._known
        self._known, actions = supervisor.step(before, event, now_ns)
        if before.losses != self._known.losses:
            self._lost_ns = now_ns
        if self._known.unclear not in ("", before.unclear):
            self._log.warning("%s: it goes on: %s", self.wanted.uuid, self._known.unclear)
        if before.state is not self._known.state:
            self._since = format_time(datetime.now(UTC))
            self._log.info(
                "%s: %s -> %s %s", self.wanted.uuid, before.state, self._known.state, self._known.line
            )
        for action in actions:
            for result in self._act(action):
                self._step(result, now_ns)

    def _act(self, action: Action) -> Iterator[Event]:
        match action:
            case supervisor.Start():
                yield from self._start()
            case supervisor.Configure():
                yield self._configure()
            case supervisor.EndDaemon():
                self._process.kill()

    def _start(self) -> Iterator[Event]:
        self._last_line = ""
        try:
            self._process.start()
        except DaemonStartError as error:
            self._log.error("%s: %s", self.wanted.uuid, error)
            yield supervisor.Exited(_NOT_STARTED)

    def _configure(self) -> Event:
        """Set, then read back: the daemon ignores what it does not like, in silence."""
        wanted, ask = self.wanted, self._control.ask
        try:
            protocol.check_percentage(ask(protocol.set_percentage(_DEFAULT_PERCENT)), _DEFAULT_PERCENT)
            ask(protocol.set_memory_limit(wanted.memory_limit_mebibytes))
            protocol.check_memory_limit(ask(protocol.READ_MEMORY_LIMIT), wanted.memory_limit_mebibytes)
            return supervisor.Configured()
        except DaemonAnswerError as error:
            return supervisor.Refused(str(error))
        except NoAnswerError as error:
            return _without_answer(error)

    def _status(self) -> DaemonStatus:
        known = self._known
        return DaemonStatus(
            state=known.state,
            since=self._since,
            restarts=max(0, known.starts - 1),
            losses=known.losses,
            line="; ".join(filter(None, (known.line, known.unclear)))[:_LONGEST_LINE],
            clients=known.clients,
            lost_ns=self._lost_ns,
        )


def _without_answer(error: NoAnswerError) -> Event:
    kind = supervisor.Unasked if isinstance(error, NotAskedError) else supervisor.Silent
    return kind(str(error))


def _is_fault(event: Event) -> bool:
    return isinstance(event, supervisor.Answered) and any(
        server.state is ServerState.FAULT for server in event.servers
    )
