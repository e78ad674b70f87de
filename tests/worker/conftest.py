"""Workers and the folder that a worker and its agent share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.worker.process import Worker

StartWorker = Callable[..., Worker]


@pytest.fixture
def folder(short_dir: Path) -> Path:
    return short_dir


@pytest.fixture
def start_worker(folder: Path) -> Iterator[StartWorker]:
    """Starts workers, which end with the test."""
    workers: list[Worker] = []

    def start(
        command: str = "serve",
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "kneescale_worker"),
    ) -> Worker:
        workers.append(Worker(folder, command, env, program))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()


@pytest.fixture
def worker(start_worker: StartWorker) -> Worker:
    """A ready worker; there is no agent unless the test starts one."""
    worker = start_worker()
    worker.wait_ready()
    return worker
