"""Of a hundred requests one may miss its SLO: how much of that a partition has left.

A capacity is what every model keeps its SLO at, so the misses that cannot be helped are best shared: whoever
has some of its budget left gives up what would be dear, and whoever used it up goes a little before the
others.
"""

from typing import Final

#: This part of the items may be missed without a word: a little less than the one in a hundred.
ALLOWED: Final = 0.008

#: What was not missed so far may be later, up to so many items.
MOST_SAVED: Final = 8.0

#: Each item missed beyond the budget puts a partition this part of its SLO ahead, up to a limit...
STEP: Final = 0.03
#: ...past which its runs would push out cheaper ones for less than they gain.
MOST_AHEAD: Final = 0.3


class ErrorBudget:
    """The budget of one partition, in items."""

    def __init__(self) -> None:
        #: How many may be missed yet; below 0 where too many were.
        self.left = 0.0

    @property
    def ahead(self) -> float:
        """How far its queue goes before the others, as a part of its SLO."""
        return STEP * max(0.0, -self.left)

    def missed(self, items: int) -> None:
        """So many items are given up, or were answered late."""
        self.left = max(-MOST_AHEAD / STEP, self.left - items)

    def granted(self, items: int) -> None:
        """So many items run."""
        self.left = min(MOST_SAVED, self.left + ALLOWED * items)
