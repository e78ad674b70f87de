"""Lanes that run one batch at a time, several perhaps with the same GPU%."""

from collections.abc import Iterable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from kneescale_worker.errors import ExecutorError

T = TypeVar("T")
#: So long may a lane take to be free: the time in which a process that died is started again.
_LONGEST_WAIT_S = 60.0


class LanePool(Generic[T]):
    """Free lanes by their GPU%."""

    def __init__(self, lanes: Iterable[tuple[int, T]]) -> None:
        self._free: dict[int, SimpleQueue[T]] = {}
        for gpu_percent, lane in lanes:
            self._free.setdefault(gpu_percent, SimpleQueue()).put(lane)

    def take(self, gpu_percent: int) -> T:
        """Take a free lane out, waiting for one.

        Raises ExecutorError where there is no such lane, or none gets free.
        """
        if gpu_percent not in self._free:
            lanes = ", ".join(str(percent) for percent in sorted(self._free))
            raise ExecutorError(f"there is no lane of {gpu_percent} GPU%; there are {lanes}")
        try:
            return self._free[gpu_percent].get(timeout=_LONGEST_WAIT_S)
        except Empty as error:
            raise ExecutorError(
                f"no lane of {gpu_percent} GPU% got free in {_LONGEST_WAIT_S:.0f} s"
            ) from error

    def give_back(self, gpu_percent: int, lane: T) -> None:
        """Put a lane in, for whoever waits for one."""
        self._free[gpu_percent].put(lane)
