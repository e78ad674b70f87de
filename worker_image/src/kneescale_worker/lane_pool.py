"""Lanes that run one batch at a time, several perhaps with the same GPU%."""

from collections import deque
from collections.abc import Iterable
from threading import Condition
from typing import Generic, TypeVar

from kneescale_worker.errors import ExecutorError

T = TypeVar("T")


class LanePool(Generic[T]):
    """Free lanes by their GPU%, and how many there are alive."""

    def __init__(self, lanes: Iterable[tuple[int, T]]) -> None:
        self._free: dict[int, deque[T]] = {}
        for gpu_percent, lane in lanes:
            self._free.setdefault(gpu_percent, deque()).append(lane)
        self._alive = {gpu_percent: len(free) for gpu_percent, free in self._free.items()}
        self._lost: list[T] = []
        self._changed = Condition()

    def take(self, gpu_percent: int) -> T:
        """Take a free lane out, waiting for one that is alive.

        Raises ExecutorError where there is no such lane, or none alive: one that is started again takes
        longer than a batch may.
        """
        if gpu_percent not in self._free:
            lanes = ", ".join(str(percent) for percent in sorted(self._free))
            raise ExecutorError(f"there is no lane of {gpu_percent} GPU%; there are {lanes}")
        free = self._free[gpu_percent]
        with self._changed:
            self._changed.wait_for(lambda: free or not self._alive[gpu_percent])
            if not free:
                raise ExecutorError(f"no lane of {gpu_percent} GPU% is alive; it is started again")
            return free.popleft()

    def give_back(self, gpu_percent: int, lane: T) -> None:
        """Put a lane in that was taken, for whoever waits for one."""
        with self._changed:
            self._free[gpu_percent].append(lane)
            self._changed.notify_all()

    def lose(self, gpu_percent: int, lane: T) -> None:
        """Count a lane that was taken as dead."""
        with self._changed:
            self._lose(gpu_percent, lane)

    def retire(self, gpu_percent: int, lane: T) -> None:
        """Count a dead lane as such, once nobody has it: whoever took it loses it, or gives it back."""
        free = self._free[gpu_percent]
        with self._changed:
            self._changed.wait_for(lambda: lane in free or lane in self._lost)
            if lane in free:
                free.remove(lane)
                self._lose(gpu_percent, lane)

    def revive(self, gpu_percent: int, lane: T) -> None:
        """Put a lane in that was lost."""
        with self._changed:
            self._lost.remove(lane)
            self._alive[gpu_percent] += 1
        self.give_back(gpu_percent, lane)

    def _lose(self, gpu_percent: int, lane: T) -> None:
        self._lost.append(lane)
        self._alive[gpu_percent] -= 1
        self._changed.notify_all()
