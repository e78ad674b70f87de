"""`kneescale` as a process: its exit status, and one line on stderr for what went wrong."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from kneescale.core.errors import KneescaleError

#: What a shell calls wrong usage; wrong input is no different.
_WRONG_INPUT = 2
_NOT_WRITTEN = 1
#: What a shell says of a program that a signal ended.
_INTERRUPTED = 128 + signal.SIGINT
_NOBODY_READS = 128 + signal.SIGPIPE


def program() -> int:
    """Be the process `kneescale`."""
    # Not where whoever started it has interrupts ignored.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        return _main_and_flush()
    except KeyboardInterrupt:
        return _failed("interrupted", _INTERRUPTED)
    except BrokenPipeError:
        # A reader that has seen enough (`| head`) ends it; that is no error to report.
        _drop_output()
        return _NOBODY_READS
    except OSError as error:
        # Files that are read or drawn are errors of ours: what is left is the output.
        _drop_output()
        return _failed(f"cannot write the result: {error.strerror}", _NOT_WRITTEN)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 2 with one line on stderr where the input is wrong."""
    # Only here: it takes a second, in which the user may interrupt too.
    from kneescale.cli.commands import new_program_parser

    parsed = new_program_parser().parse_args(arguments)
    try:
        parsed.run(parsed, sys.stdout)
    except KneescaleError as error:
        return _failed(str(error), _WRONG_INPUT)
    return 0


def _interrupt(signal_number: int, frame: FrameType | None) -> NoReturn:
    # One is enough: a second would end what ends the worker processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _main_and_flush() -> int:
    if sys.stdout is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    try:
        return main()
    finally:
        sys.stdout.flush()


def _drop_output() -> None:
    """Python would try once more when it ends, and tell of that."""
    if sys.stdout is not None:
        with suppress(OSError):
            sys.stdout.close()


def _failed(why: str, status: int) -> int:
    sys.stderr.write(f"kneescale: {why}\n")
    return status
