"""Folders with paths short enough for Unix sockets, and a dispatcher host in its thread."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from kneescale.agent.dispatcher_host import DispatcherHost


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A folder of the test's own; pytest's tmp_path can be longer than a socket's path may be."""
    path = Path(tempfile.mkdtemp(prefix="ks"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start_host(short_dir: Path) -> Iterator[Callable[[], DispatcherHost]]:
    """Starts hosts whose sockets are `<claim uid>.sock` in `short_dir`; ends them all."""
    started: list[tuple[DispatcherHost, Thread]] = []

    def start() -> DispatcherHost:
        host = DispatcherHost("gpu0", lambda uid: short_dir / f"{uid}.sock", os.getuid())
        thread = Thread(target=host.run)
        thread.start()
        started.append((host, thread))
        return host

    yield start
    for host, thread in started:
        if thread.is_alive():
            host.stop()
        thread.join(10)
