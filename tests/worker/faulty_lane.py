"""A lane's process that loses its CUDA context to a batch of negative values, and fails one above 1000.

Called as `python -m kneescale_worker.lane_main` is. In the folder that the environment names it notes when a
warm-up begins and ends; it goes on with one for as long as there is a file `hold`.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kneescale_worker.emulated_executor import EmulatedExecutor
from kneescale_worker.errors import ContextLostError
from kneescale_worker.lane_child import LaneLink
from kneescale_worker.lane_main import main
from kneescale_worker.tensors import Array
from kneescale_worker.torchscript import zeros

FOLDER = "FAULTY_LANE_FOLDER"
_run = EmulatedExecutor.run


def _run_or_fail(executor: EmulatedExecutor, gpu_percent: int, inputs: Sequence[Array]) -> list[Array]:
    if (inputs[0] < 0).any():
        raise ContextLostError("CUDA error: device-side assert triggered")
    if (inputs[0] > 1000).any():
        raise RuntimeError("too large")
    return _run(executor, gpu_percent, inputs)


def _warm_up(executor: EmulatedExecutor) -> None:
    folder = Path(os.environ[FOLDER])
    _note(folder, "begins")
    # Long enough for another lane to begin beside it.
    executor.run(10, zeros(executor.metadata, 16))
    while (folder / "hold").exists():
        time.sleep(0.005)
    _note(folder, "ends")


def _note(folder: Path, word: str) -> None:
    with (folder / "notes").open("a") as notes:
        notes.write(f"{word}\n")


if __name__ == "__main__":
    EmulatedExecutor.run = _run_or_fail  # type: ignore[assignment,method-assign]
    EmulatedExecutor.warm_up = _warm_up  # type: ignore[assignment,method-assign]
    percent, connection, memory = map(int, sys.argv[-3:])
    main(percent, LaneLink(connection, memory))
