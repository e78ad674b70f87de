"""The process of a control daemon: started in the foreground, its log read as it comes."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from kneescale.core.errors import KneescaleError
from kneescale.mps.control import PROGRAM
from kneescale.mps.paths import log_dir, pipe_dir
from kneescale.mps.wanted import WantedDaemon

#: How long the last lines of a daemon may take to come.
_LAST_LINES_S = 0.5


class DaemonStartError(KneescaleError):
    """The daemon's program cannot be started."""


class ProgramMissingError(KneescaleError):
    """The daemon's program is not there; only another container may have it."""


class DaemonProcess(Protocol):
    """The process behind one daemon."""

    def start(self) -> None:
        """Start it; only when it does not run.

        Raises DaemonStartError, and ProgramMissingError.
        """

    def exit_status(self) -> int | None:
        """The status with which it ended, told once; None while it runs or was never started.

        Its own last lines are among the new ones then.
        """

    def new_lines(self) -> list[str]:
        """The lines that it logged since the last call."""

    def kill(self) -> None:
        """End it at once, if it runs. It is no client of the GPU: no kernel is cut off."""

    def wait(self, deadline_s: float) -> bool:
        """Whether it has ended after `deadline_s` at the latest."""


def daemon_command(wanted: WantedDaemon) -> list[str]:
    """The command line; `-S` reserves SMs for clients, by partition, and ignores their percentages."""
    return [PROGRAM, "-f", *(["-S"] if wanted.is_static else [])]


def daemon_env(wanted: WantedDaemon, state_dir: Path) -> dict[str, str]:
    """What the daemon sees: only its GPU, by UUID, since indices change; and folders of its own."""
    return {
        "CUDA_VISIBLE_DEVICES": wanted.uuid,
        "CUDA_MPS_PIPE_DIRECTORY": str(pipe_dir(state_dir, wanted.uuid)),
        "CUDA_MPS_LOG_DIRECTORY": str(log_dir(state_dir, wanted.uuid)),
    }


class LocalProcess:
    """A daemon as a child of this process, whose log also goes to this container's."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], folders: Sequence[Path]) -> None:
        self._command = command
        self._env = {**os.environ, **env}
        self._folders = folders
        self._process: subprocess.Popen[str] | None = None
        self._reader: Thread | None = None
        self._lines: SimpleQueue[str] = SimpleQueue()

    def start(self) -> None:
        """Start the program; see DaemonProcess."""
        try:
            for folder in self._folders:
                folder.mkdir(parents=True, exist_ok=True)
            process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except FileNotFoundError as error:
            raise ProgramMissingError(
                f"{self._command[0]} is not in this container: install it on the node, for some drivers by a "
                "package of its own"
            ) from error
        except OSError as error:
            raise DaemonStartError(f"cannot start {self._command[0]}: {error.strerror}") from error
        self._process = process
        self._reader = Thread(target=self._read, args=(process,), daemon=True)
        self._reader.start()

    def exit_status(self) -> int | None:
        """Poll it; see DaemonProcess."""
        status = None if self._process is None else self._process.poll()
        if status is not None:
            assert self._reader is not None
            self._reader.join(_LAST_LINES_S)
            self._process = None
        return status

    def new_lines(self) -> list[str]:
        """Empty the queue; see DaemonProcess."""
        lines: list[str] = []
        while True:
            try:
                lines.append(self._lines.get_nowait())
            except Empty:
                return lines

    def kill(self) -> None:
        """See DaemonProcess."""
        if self._process is not None:
            self._process.kill()

    def wait(self, deadline_s: float) -> bool:
        """See DaemonProcess."""
        try:
            if self._process is not None:
                self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        # A server that outlives its daemon holds the pipe open: this thread then ends with it, not before.
        with process.stdout as stream:
            for line in stream:
                self._lines.put(line.rstrip("\n"))
