"""Whether a partition's runs end by the time that they were granted for, and when one is hung."""

from typing import Final

from kneescale.core.units import NS_PER_MS, NS_PER_S

#: A run overruns its grant when it takes this part longer than planned, and at least this much: less than
#: that is noise, or the way of a message.
OVERRUN_PART: Final = 0.5
LEAST_OVERRUN_NS: Final = 2 * NS_PER_MS

#: The share of overruns is taken over about so many runs. They are repeated above the one share, and the
#: worker keeps time again below the other, so that a report does not flap.
RECENT_RUNS: Final = 50
MANY: Final = 0.2
FEW: Final = 0.05

#: A run is hung once it took this many times what was planned: two and a half times what drift may do...
HUNG_FACTOR: Final = 10
#: ...and is this late: a machine that is not itself stuck runs a thread within that.
LEAST_HUNG_NS: Final = 2 * NS_PER_S


class Punctuality:
    """The overruns of one partition."""

    def __init__(self) -> None:
        #: All that there ever were.
        self.overruns = 0
        #: Whether they come again and again.
        self.is_unpunctual = False
        self._share = 0.0

    def ran(self, planned_ns: int, late_ns: int) -> None:
        """A run of `planned_ns` ended `late_ns` after it should have; before it where that is negative."""
        is_overrun = late_ns > max(LEAST_OVERRUN_NS, OVERRUN_PART * planned_ns)
        self.overruns += is_overrun
        self._share += (is_overrun - self._share) / RECENT_RUNS
        self.is_unpunctual = self._share > (FEW if self.is_unpunctual else MANY)


def hung_after_ns(granted_ns: int, finish_by_ns: int) -> int:
    """From when on a run that has not ended by then never will, as far as one can tell.

    Agent and worker both go by this: the one gives its GPU% to others, the other ends itself.
    """
    planned_ns = finish_by_ns - granted_ns
    return finish_by_ns + max(LEAST_HUNG_NS, (HUNG_FACTOR - 1) * planned_ns)
