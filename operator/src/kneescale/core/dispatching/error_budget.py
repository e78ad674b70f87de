"""Of a hundred requests one may miss its SLO: how much of that a partition has used up of late.

A capacity is what every model keeps its SLO at, so the misses that cannot be helped are best shared: whoever
used its budget up goes a little before the others, who still have theirs.
"""

#: This part of the items may be refused without a word: a little less than the one in a hundred.
ALLOWED = 0.008

#: Each item refused puts a partition this part of its SLO ahead, up to a limit...
STEP = 0.03
#: ...past which its runs would push out cheaper ones for less than they gain.
MOST_AHEAD = 0.3


class ErrorBudget:
    """The budget of one partition: a quantile by stochastic approximation (Robbins and Monro, 1951)."""

    def __init__(self) -> None:
        #: How far its queue goes before the others, as a part of its SLO.
        self.ahead = 0.0

    def refused(self, items: int) -> None:
        """So many items are given up."""
        self.ahead = min(MOST_AHEAD, self.ahead + STEP * items)

    def granted(self, items: int) -> None:
        """So many items run."""
        self.ahead = max(0.0, self.ahead - STEP * ALLOWED * items)
