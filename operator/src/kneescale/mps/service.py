"""All daemons of a node: those that the agent's files ask for, no more and no fewer."""

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event, Thread

from kneescale.core.errors import InvalidInputError
from kneescale.mps.control import ControlProgram
from kneescale.mps.daemon_process import LocalProcess, daemon_command, daemon_env
from kneescale.mps.keeper import DaemonKeeper
from kneescale.mps.partition_files import PartitionFiles
from kneescale.mps.paths import log_dir, pipe_dir
from kneescale.mps.sm_partitions import SmPartitions
from kneescale.mps.status import DaemonStatus, read_status, status_path, write_status
from kneescale.mps.wanted import WantedDaemon, read_wanted, wanted_files

_log = logging.getLogger(__name__)
_TURN_S = 1.0

MakeKeeper = Callable[[WantedDaemon], DaemonKeeper]


def keeper_of(state_dir: Path, wanted: WantedDaemon) -> DaemonKeeper:
    """A keeper of a real daemon, with its folders and its status below `state_dir`."""
    folders = (pipe_dir(state_dir, wanted.uuid), log_dir(state_dir, wanted.uuid))
    status_file = status_path(state_dir, wanted.uuid)
    control = ControlProgram(folders[0])
    return DaemonKeeper(
        wanted,
        LocalProcess(daemon_command(wanted), daemon_env(wanted, state_dir), folders),
        control,
        SmPartitions(wanted.uuid, PartitionFiles(state_dir, wanted.uuid), control),
        partial(write_status, status_file),
        before=_status_before(status_file),
    )


def _status_before(path: Path) -> DaemonStatus | None:
    """What the daemon of before told last; None after none, or where that cannot be read."""
    try:
        return read_status(path)
    except InvalidInputError as error:
        _log.warning("%s", error)
        return None


class MpsService:
    """One thread for each daemon, so that one that hangs keeps no other waiting."""

    def __init__(self, state_dir: Path, make_keeper: MakeKeeper) -> None:
        self._state_dir = state_dir
        self._make_keeper = make_keeper
        self._kept: dict[Path, _Kept] = {}
        self._complaints: dict[Path, str] = {}

    @property
    def count(self) -> int:
        """How many daemons are kept now."""
        return len(self._kept)

    def run(self, ending: Event) -> bool:
        """Serve until `ending` is set, then let every daemon end, if its clients do so in time.

        Whether no keeper failed: one that does ends the whole, since its daemon lives on without it, and
        a second keeper would not get another.
        """
        while not self._has_failed and not ending.wait(_TURN_S):
            self.turn()
        for kept in self._kept.values():
            kept.leave()
        for kept in self._kept.values():
            kept.thread.join()
        return not self._has_failed

    @property
    def _has_failed(self) -> bool:
        return any(kept.has_failed for kept in self._kept.values())

    def turn(self) -> None:
        """Begin and end daemons as the files of now ask."""
        files = {path: self._read(path) for path in wanted_files(self._state_dir)}
        for path, kept in list(self._kept.items()):
            # A file that is wrong changes nothing; one that is gone, or asks for another daemon, does.
            if path not in files or not kept.takes(files[path]):
                kept.stop()
            if not kept.thread.is_alive() and not kept.has_failed:
                del self._kept[path]
        for path, wanted in files.items():
            if wanted is not None and path not in self._kept:
                self._kept[path] = _Kept(self._make_keeper(wanted))

    def _read(self, path: Path) -> WantedDaemon | None:
        """The daemon asked for; None, said once, when the file is wrong."""
        try:
            daemon = read_wanted(path)
        except InvalidInputError as error:
            if self._complaints.get(path) != str(error):
                _log.error("%s", error)
            self._complaints[path] = str(error)
            return None
        self._complaints.pop(path, None)
        return daemon


class _Kept:
    """A keeper on its thread."""

    def __init__(self, keeper: DaemonKeeper) -> None:
        self.keeper = keeper
        self.has_failed = False
        self._ending = Event()
        self._leaving = Event()
        self.thread = Thread(target=self._run, name=keeper.wanted.uuid, daemon=True)
        self.thread.start()

    def takes(self, wanted: WantedDaemon | None) -> bool:
        """Go on with what is asked for now, unless that is another daemon; None: nothing new is known."""
        if wanted is None:
            return True
        if wanted.is_met_by(self.keeper.wanted):
            self.keeper.wanted = wanted
            return True
        return False

    def stop(self) -> None:
        """Make the thread end once the daemon has, as it does with the last of its clients.

        Not before: the next daemon would find this one in its place.
        """
        self._ending.set()

    def leave(self) -> None:
        """Make the thread end soon, whether or not clients stay."""
        self._leaving.set()
        self._ending.set()

    def _run(self) -> None:
        try:
            self._keep()
        except Exception:  # noqa: BLE001  (whatever it is, no daemon is to run unkept)
            uuid = self.keeper.wanted.uuid
            _log.exception("%s: the keeper failed; the program ends", uuid, extra={"device": uuid})
            self.has_failed = True

    def _keep(self) -> None:
        self.keeper.turn(time.monotonic_ns())
        while not self._ending.wait(_TURN_S):
            self.keeper.turn(time.monotonic_ns())
        self.keeper.quit()
        while not self._leaving.is_set() and not self.keeper.has_ended(_TURN_S):
            self.keeper.tell(time.monotonic_ns())
