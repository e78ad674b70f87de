"""Running other programs: one port, so that tests can record commands instead of running them."""

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol


class CommandError(RuntimeError):
    """A program could not be started or ended with a status other than 0."""

    def __init__(self, argv: Sequence[str], reason: str) -> None:
        super().__init__(f"{' '.join(argv[:6])}{' ...' if len(argv) > 6 else ''}: {reason}")


class Runner(Protocol):
    """Runs a program to its end."""

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Path | None = None,
        log: Path | None = None,
    ) -> str:
        """Return what the program wrote to standard output.

        `env` replaces the environment, `stdin` is fed to the program, and with `log` all output goes to
        that file instead (and the result is empty). Raises CommandError if the program fails.
        """
        ...


class Shell:
    """The Runner that really runs programs."""

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Path | None = None,
        log: Path | None = None,
    ) -> str:
        """Run a program; see Runner.run."""
        with ExitStack() as files:
            given = files.enter_context(stdin.open("rb")) if stdin else subprocess.DEVNULL
            out = files.enter_context(log.open("ab")) if log else subprocess.PIPE
            errors = subprocess.STDOUT if log else subprocess.PIPE
            try:
                done = subprocess.run(
                    argv, env=env, cwd=cwd, stdin=given, stdout=out, stderr=errors, check=False
                )
            except OSError as error:
                raise CommandError(argv, error.strerror or str(error)) from error
        if done.returncode != 0:
            said = tail(log) if log else _last_lines(done.stderr or done.stdout)
            raise CommandError(argv, f"exit status {done.returncode}: {said}")
        return "" if log else done.stdout.decode(errors="replace")


def succeeds(runner: Runner, argv: Sequence[str]) -> bool:
    """Run a program that may fail, and tell whether it did not."""
    try:
        runner.run(argv)
    except CommandError:
        return False
    return True


def tail(log: Path, lines: int = 3) -> str:
    """Return the last lines of a log, for an error message."""
    return _last_lines(log.read_bytes(), lines) if log.exists() else "(no log)"


def _last_lines(text: bytes, lines: int = 3) -> str:
    return " | ".join(text.decode(errors="replace").strip().splitlines()[-lines:]) or "(no output)"
