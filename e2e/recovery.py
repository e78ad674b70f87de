"""How a stream of requests comes through a fault, in figures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from e2e.chaos.cores import PERIOD_S
from e2e.demo.figures import Outcome
from kneescale.core.units import MS_PER_S

FULL_ATTAINMENT = 0.99
#: So long before a fault may a request have been due that was under way when it came. All is steady until
#: then (e2e/trial.py), so none of those whose outcome was there is late or failed.
UNDER_WAY_S = 2.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """What clients saw of a fault."""

    #: Requests, also those that were under way when it came.
    sent: int
    #: How many requests got no right answer, by what they got instead.
    errors: Counter[str]
    late: int
    #: From the fault on; None where it did not come back.
    back_s: float | None

    @property
    def failed(self) -> int:
        """Requests that got no right answer."""
        return self.errors.total()

    def is_back_within(self, seconds: float) -> bool:
        """Whether attainment was full again so soon after the fault."""
        return self.back_s is not None and self.back_s <= seconds

    def __str__(self) -> str:
        back = "never" if self.back_s is None else f"after {self.back_s:.1f} s"
        what = "".join(f"\n  {count} x {error}" for error, count in self.errors.most_common(5))
        return f"{self.sent} sent, {self.failed} failed, {self.late} late, full attainment {back}{what}"


def recovery(
    outcomes: Sequence[Outcome], slo_ms: float, fault_s: float, short_s: Sequence[float] = ()
) -> Recovery:
    """Sum up the requests that a fault may have touched.

    `short_s`: when each second began in which no core was free. A request that was a little late then says
    nothing of when attainment is full; one that failed or that waited for longer always does.
    """
    felt = [each for each in outcomes if each.due_s >= fault_s - UNDER_WAY_S]
    telling = [each for each in felt if not _lacked_a_core(each, slo_ms, short_s)]
    after = sorted((each for each in telling if each.due_s >= fault_s), key=lambda each: each.due_s)
    errors = Counter(each.error for each in felt if not each.correct)
    late = sum(each.correct and not each.is_within(slo_ms) for each in felt)
    return Recovery(len(felt), errors, late, _back_s(after, slo_ms, fault_s))


def _lacked_a_core(outcome: Outcome, slo_ms: float, short_s: Sequence[float]) -> bool:
    """Whether it was late by no more than the second without a free core into which its SLO reached."""
    if outcome.is_within(slo_ms) or not outcome.is_within(slo_ms + PERIOD_S * MS_PER_S):
        return False
    slo_s = slo_ms / MS_PER_S
    return any(at_s - slo_s <= outcome.due_s < at_s + PERIOD_S for at_s in short_s)


def _back_s(after: Sequence[Outcome], slo_ms: float, fault_s: float) -> float | None:
    """The shortest time after the fault from which on the attainment of all that follows is full."""
    back_s, within = None, 0
    for count, outcome in enumerate(reversed(after), start=1):
        within += outcome.is_within(slo_ms)
        if within / count >= FULL_ATTAINMENT:
            back_s = outcome.due_s - fault_s
    return back_s
