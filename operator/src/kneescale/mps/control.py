"""Asking a control daemon: one short-lived `nvidia-cuda-mps-control` for each question."""

import os
import subprocess
from pathlib import Path
from typing import Protocol

from kneescale.core.errors import KneescaleError

PROGRAM = "nvidia-cuda-mps-control"
#: terminate_client comes back when the client's kernels have ended; the rest is a matter of milliseconds.
_DEADLINE_S = 5.0


class NoAnswerError(KneescaleError):
    """There is no answer of the daemon."""


class DaemonSilentError(NoAnswerError):
    """The daemon did not answer in time, or nobody listens."""


class NotAskedError(NoAnswerError):
    """The program that asks cannot be run, for want of memory or processes: the daemon may be well."""


class Control(Protocol):
    """The way to one daemon."""

    def ask(self, command: str) -> str:
        """What the daemon answers to `command`; errors are answers too (`protocol`).

        Raises DaemonSilentError and NotAskedError.
        """


class ControlProgram:
    """Asks the daemon that listens in `pipe_dir`."""

    def __init__(self, pipe_dir: Path) -> None:
        self._env = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(pipe_dir)}

    def ask(self, command: str) -> str:
        """Feed it one command; see Control."""
        try:
            done = subprocess.run(
                [PROGRAM],
                input=f"{command}\n",
                env=self._env,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_DEADLINE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DaemonSilentError(f"no answer to {command!r} within {_DEADLINE_S:.0f} s") from error
        except OSError as error:
            raise NotAskedError(f"cannot run {PROGRAM}: {error.strerror}") from error
        if done.returncode:
            raise DaemonSilentError(f"no answer to {command!r}: {(done.stderr or done.stdout).strip()}")
        return done.stdout.strip()
