"""A lane's process that loses its CUDA context to a batch of negative values, and fails one above 1000.

Called as `python -m kneescale_worker.lane_main` is.
"""

import sys
from collections.abc import Sequence

from kneescale_worker.emulated_executor import EmulatedExecutor
from kneescale_worker.errors import ContextLostError
from kneescale_worker.lane_child import LaneLink
from kneescale_worker.lane_main import main
from kneescale_worker.tensors import Array

_run = EmulatedExecutor.run


def _run_or_fail(executor: EmulatedExecutor, gpu_percent: int, inputs: Sequence[Array]) -> list[Array]:
    if (inputs[0] < 0).any():
        raise ContextLostError("CUDA error: device-side assert triggered")
    if (inputs[0] > 1000).any():
        raise RuntimeError("too large")
    return _run(executor, gpu_percent, inputs)


if __name__ == "__main__":
    EmulatedExecutor.run = _run_or_fail  # type: ignore[assignment,method-assign]
    percent, connection, memory = map(int, sys.argv[-3:])
    main(percent, LaneLink(connection, memory))
