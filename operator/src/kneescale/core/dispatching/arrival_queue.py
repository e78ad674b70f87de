"""The items that wait in a worker's queue, by when they arrived."""

from collections import deque

#: (when they arrived, how many), oldest first.
Arrivals = list[tuple[int, int]]


class ArrivalQueue:
    """One queue, oldest first; items that came at once are one entry."""

    def __init__(self) -> None:
        #: How many items wait.
        self.count = 0
        self._arrivals: deque[tuple[int, int]] = deque()

    @property
    def oldest_ns(self) -> int:
        """When the oldest item arrived; there is one."""
        return self._arrivals[0][0]

    def push(self, count: int, arrived_ns: int) -> None:
        """`count` items join the tail."""
        self._arrivals.append((arrived_ns, count))
        self.count += count

    def pop(self, count: int) -> Arrivals:
        """The oldest `count` items leave; they are there."""
        left: Arrivals = []
        self.count -= count
        while count:
            arrived_ns, items = self._arrivals.popleft()
            if items > count:
                self._arrivals.appendleft((arrived_ns, items - count))
                items = count
            left.append((arrived_ns, items))
            count -= items
        return left

    def clear(self) -> None:
        """All leave."""
        self._arrivals.clear()
        self.count = 0

    def older_than(self, since_ns: int) -> int:
        """How many items arrived before that."""
        older = 0
        for arrived_ns, count in self._arrivals:
            if arrived_ns >= since_ns:
                break
            older += count
        return older

    def first_since(self, since_ns: int, among: int) -> int | None:
        """When the first of the oldest `among` items arrived that came then or later; None where none did."""
        seen = 0
        for arrived_ns, count in self._arrivals:
            if arrived_ns >= since_ns:
                return arrived_ns
            seen += count
            if seen >= among:
                break
        return None
