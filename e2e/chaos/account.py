"""The account of a run: which requests were answered in time, and which fault explains the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from e2e.clients import tells_of_an_end
from e2e.demo.figures import Outcome

#: A worker that hangs is started again this long after, at the latest: its liveness probe, then its grace.
EXPLAINS_FOR_S = 120.0
BUCKET_S = 5.0
#: What a worker says that cannot answer in time, as where it must do the work of one that is away.
_REFUSED = ("cannot be answered within the SLO", "would pass the queue's limit")


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that happened, in seconds of this machine's monotonic clock."""

    fault: str
    victim: str
    began_s: float
    ended_s: float


def unexplained(outcomes: Sequence[Outcome], struck: Sequence[Struck]) -> list[Outcome]:
    """The requests without a right answer that no fault before them accounts for.

    Wrong answers and errors that tell of anything but an end, a silence or a refusal are never explained.
    """
    return [each for each in outcomes if not each.correct and not _explained(each, struck)]


def _explained(outcome: Outcome, struck: Sequence[Struck]) -> bool:
    known = tells_of_an_end(outcome.error) or any(words in outcome.error for words in _REFUSED)
    return known and any(
        # A request that was waiting when the fault began failed by it, too.
        fault.began_s - BUCKET_S <= outcome.due_s <= fault.ended_s + EXPLAINS_FOR_S
        for fault in struck
    )


def attainment_over_time(
    outcomes: Sequence[Outcome], slo_ms: float, begin_s: float
) -> list[tuple[float, float]]:
    """(seconds after `begin_s`, attainment) for each BUCKET_S in which requests were due."""
    buckets: dict[int, list[bool]] = {}
    for outcome in outcomes:
        number = int((outcome.due_s - begin_s) // BUCKET_S)
        buckets.setdefault(number, []).append(outcome.is_within(slo_ms))
    return [(number * BUCKET_S, sum(met) / len(met)) for number, met in sorted(buckets.items())]


def overall(outcomes: Mapping[str, Sequence[Outcome]], slo_ms: Mapping[str, int]) -> float:
    """The attainment of all requests of all models."""
    met = [each.is_within(slo_ms[model]) for model, of_one in outcomes.items() for each in of_one]
    return sum(met) / len(met)
