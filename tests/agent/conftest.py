"""A dispatcher host in its thread."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from kneescale.agent.dispatcher_host import DispatcherHost


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
