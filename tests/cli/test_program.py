"""`kneescale` as a process: interrupted, and with nowhere to write to."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from tests.cli import test_simulate

PROFILES, SCENARIO = test_simulate.PROFILES, test_simulate.SCENARIO
PROGRAM = (sys.executable, "-c", "from kneescale.cli.main import program; raise SystemExit(program())")
#: Longer than any test waits.
LONG = ("--duration-s", "3000", "--policy", "dstack,triton,nexus")
QUICK = ("--duration-s", "2", "--warmup-s", "1")


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The program in a process group of its own, as a shell starts it."""
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs pytest in the background has interrupts ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process
        finally:
            if group_lives(process):
                os.killpg(process.pid, signal.SIGKILL)


def terminal(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGINT)


def parent_alone(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)


def impatient_user(process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)


def group_lives(process: subprocess.Popen[str]) -> bool:
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("interrupt", [terminal, parent_alone, impatient_user])
def test_an_interrupt_is_one_line_and_leaves_nothing_running(
    scenario: Path, interrupt: Callable[[subprocess.Popen[str]], None]
) -> None:
    with started("capacity", str(scenario), *LONG) as process:
        assert process.stderr is not None
        assert "running" in process.stderr.readline()
        interrupt(process)
        out, err = process.communicate()
        assert not group_lives(process)
    assert process.returncode == 130
    assert out == ""
    assert [line for line in err.splitlines() if not line.startswith("[")] == ["kneescale: interrupted"]


def test_a_full_disk_is_one_line(scenario: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = run("bound", str(scenario), stdout=full)
    assert done.stderr == "kneescale: cannot write the result: No space left on device\n"
    assert done.returncode == 1


def test_a_closed_output_is_one_line(scenario: Path) -> None:
    command = " ".join(shlex.quote(word) for word in (*PROGRAM, "bound", str(scenario)))
    done = subprocess.run(["/bin/sh", "-c", f"{command} >&-"], stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == "kneescale: cannot write the result: Bad file descriptor\n"
    assert done.returncode == 1


def test_a_reader_that_has_seen_enough_ends_it_without_a_word(scenario: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody_reads:
        done = run("bound", str(scenario), stdout=nobody_reads)
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE


def run(*arguments: str, stdout: TextIO) -> subprocess.CompletedProcess[str]:
    command = [*PROGRAM, *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
