"""A device's dispatcher and its workers without a cluster: what benchmarks and trials are made of."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from kneescale.agent.dispatcher_host import DispatcherHost


def dispatcher_host(folder: Path) -> DispatcherHost:
    """A dispatcher for workers of this user; the socket of claim `uid` is `uid.sock` in the folder."""
    return DispatcherHost("gpu0", lambda uid: folder / f"{uid}.sock", os.getuid())


@contextmanager
def running_host(folder: Path) -> Iterator[tuple[DispatcherHost, Thread]]:
    """The same, on its thread."""
    host = dispatcher_host(folder)
    thread = Thread(target=host.run)
    thread.start()
    try:
        yield host, thread
    finally:
        host.stop()
        thread.join()


@contextmanager
def running_worker(command: str, env: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A worker's process with `env` beside this one's environment; it writes to `log`."""
    program = [sys.executable, "-m", "kneescale_worker", command]
    with (
        log.open("w") as stderr,
        subprocess.Popen(program, env={**os.environ, **env}, stderr=stderr) as worker,
    ):
        try:
            yield worker
        finally:
            worker.kill()
