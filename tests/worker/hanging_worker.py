"""A worker whose batches never end: `python hanging_worker.py serve`."""

import sys
from collections.abc import Sequence
from threading import Event
from typing import NoReturn

from kneescale_worker.emulated_executor import EmulatedExecutor
from kneescale_worker.main import main
from kneescale_worker.tensors import Array


def _hang(executor: EmulatedExecutor, gpu_percent: int, inputs: Sequence[Array]) -> NoReturn:
    Event().wait()
    raise AssertionError("nobody sets it")


if __name__ == "__main__":
    EmulatedExecutor.run = _hang  # type: ignore[assignment,method-assign]
    sys.exit(main())
