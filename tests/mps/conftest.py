"""Daemons for tests, real and fake, in folders whose paths are short enough for sockets."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kneescale.mps.control import PROGRAM
from kneescale.mps.keeper import DaemonKeeper
from kneescale.mps.paths import pipe_dir
from kneescale.mps.service import keeper_of
from kneescale.mps.wanted import WantedDaemon
from tests.mps import fake_control
from tests.mps.real_daemon import NoDaemonError, programs

UUID = "GPU-5f1a0c1e-0000-4000-8000-000000000001"
WANTED = WantedDaemon(UUID, memory_limit_mebibytes=16 * 1024)

MakeKeeper = Callable[[WantedDaemon], DaemonKeeper]


@pytest.fixture
def state_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="knm-") as folder:
        yield Path(folder)


@pytest.fixture
def fake_program(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the fake program on the path."""
    folder = state_dir / "bin"
    folder.mkdir()
    program = folder / PROGRAM
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {fake_control.__file__} "$@"\n')
    program.chmod(0o755)
    _prepend(monkeypatch, folder)


@pytest.fixture
def real_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the real program on the path."""
    try:
        _prepend(monkeypatch, *programs())
    except NoDaemonError as error:
        pytest.skip(str(error))


@pytest.fixture
def make_keeper(state_dir: Path) -> Iterator[MakeKeeper]:
    """Makes keepers, whose daemons end with the test."""
    keepers: list[DaemonKeeper] = []

    def make(wanted: WantedDaemon) -> DaemonKeeper:
        pipe_dir(state_dir, wanted.uuid).parent.mkdir(parents=True, exist_ok=True)
        keepers.append(keeper_of(state_dir, wanted))
        return keepers[-1]

    yield make
    for keeper in keepers:
        keeper.quit()


def _prepend(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, folders), os.environ["PATH"]]))
