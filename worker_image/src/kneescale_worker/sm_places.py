"""Which SMs a lane gets, when several lie side by side: pure arithmetic on groups of SMs.

A green context is made of certain SMs, and two of them run side by side at full pace only where they have no
SM in common. So each lane has several places, and a batch gets the one that is least in use.
"""

from collections.abc import Sequence
from threading import Lock


def places(groups: int, size: int) -> list[range]:
    """The places of a lane of `size` groups: side by side from the first group on, as many as fit."""
    return [range(start, start + size) for start in range(0, groups - size + 1, size)]


class PlaceBoard:
    """How many batches run on each group of SMs now; several threads use it."""

    def __init__(self, groups: int) -> None:
        self._users = [0] * groups
        self._lock = Lock()

    def occupy(self, candidates: Sequence[range]) -> int:
        """Take the candidate that shares the fewest groups with what runs; its index.

        Of equals the last: large lanes have places from the first group on alone, and so find them free.
        """
        with self._lock:
            index = min(range(len(candidates)), key=lambda i: (self._load(candidates[i]), -i))
            self._add(candidates[index], 1)
        return index

    def leave(self, place: range) -> None:
        """Give a place back."""
        with self._lock:
            self._add(place, -1)

    def _load(self, place: range) -> int:
        return sum(self._users[group] for group in place)

    def _add(self, place: range, users: int) -> None:
        for group in place:
            self._users[group] += users
