"""A worker whose model takes up to two items, and fails in a way of its own where its kernels are read.

`python faulty_model.py profile|serve`.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

from kneescale_worker.emulated_executor import EmulatedExecutor
from kneescale_worker.main import main
from kneescale_worker.tensors import Array

_run = EmulatedExecutor.run


def _run_two(executor: EmulatedExecutor, gpu_percent: int, inputs: Sequence[Array]) -> list[Array]:
    if len(inputs[0]) > 2:
        raise RuntimeError("shape '[2, 4]' is invalid for input of size 16\nat model.py:7")
    return _run(executor, gpu_percent, inputs)


def _fail(_: EmulatedExecutor) -> NoReturn:
    raise IndexError("tuple index out of range")


if __name__ == "__main__":
    EmulatedExecutor.run = _run_two  # type: ignore[assignment,method-assign]
    EmulatedExecutor.kernels = _fail  # type: ignore[assignment,method-assign]
    sys.exit(main())
