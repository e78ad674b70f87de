"""What became of a stream of requests, in figures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.percentile import percentile


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request."""

    #: When it was to be sent, on this machine's monotonic clock.
    due_s: float
    #: From `due_s` on; None if no answer came.
    latency_ms: float | None
    correct: bool
    error: str = ""

    def is_within(self, slo_ms: float) -> bool:
        """Whether it was answered correctly within the SLO."""
        return self.correct and self.latency_ms is not None and self.latency_ms <= slo_ms


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of all requests of one model."""

    sent: int
    answered: int
    correct: int
    #: Answered correctly within the SLO.
    within_slo: int
    #: within_slo / sent.
    attainment: float
    #: Of the answered ones; None if there are none.
    p50_ms: float | None
    p99_ms: float | None


#: Figures over time are of requests that were due in so many seconds each.
BUCKET_S = 5.0


def by_time(outcomes: Iterable[Outcome], begin_s: float) -> list[tuple[float, list[Outcome]]]:
    """(seconds after `begin_s`, outcomes) for each BUCKET_S in which requests were due, in order."""
    buckets: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        buckets.setdefault(int((outcome.due_s - begin_s) // BUCKET_S), []).append(outcome)
    return [(number * BUCKET_S, of_one) for number, of_one in sorted(buckets.items())]


def summarise(outcomes: Sequence[Outcome], slo_ms: float) -> Figures:
    """Count outcomes; a request without an answer, or with a wrong one, misses its SLO."""
    latencies_ms = [o.latency_ms for o in outcomes if o.latency_ms is not None]
    within = sum(outcome.is_within(slo_ms) for outcome in outcomes)
    return Figures(
        sent=len(outcomes),
        answered=len(latencies_ms),
        correct=sum(o.correct for o in outcomes),
        within_slo=within,
        attainment=round(within / len(outcomes), 4) if outcomes else 0.0,
        p50_ms=percentile(latencies_ms, 50),
        p99_ms=percentile(latencies_ms, 99),
    )
