"""What ran when on one device: spans of granted GPU%, however they came to be known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kneescale.sim.record import Record


@dataclass(frozen=True, slots=True)
class Span:
    """One grant, from the moment at which it was given until its batch had ended."""

    model: str
    gpu_percent: int
    batch: int
    start_ns: int
    end_ns: int


def spans_of(record: Record) -> list[Span]:
    """What ran on a simulated GPU; a run whose share changed has the GPU% of its end."""
    return [
        Span(record.tenants[run.model].name, round(run.share_percent), run.batch, run.started_ns, run.end_ns)
        for run in record.runs
    ]


def levels(spans: Iterable[Span]) -> list[tuple[int, int]]:
    """Return (time, sum of granted GPU% from then on) at each change, ascending.

    Ends come before begins at the same instant: a batch may take over what another gives back.
    """
    changes: dict[int, int] = {}
    for span in spans:
        changes[span.start_ns] = changes.get(span.start_ns, 0) + span.gpu_percent
        changes[span.end_ns] = changes.get(span.end_ns, 0) - span.gpu_percent
    total, result = 0, []
    for time_ns, change in sorted(changes.items()):
        total += change
        result.append((time_ns, total))
    return result


def stacked(spans: Sequence[Span]) -> list[tuple[Span, int]]:
    """Return each span with the GPU% at which to draw its lower edge, so that none overlap.

    First fit among the spans still running; where what is left is in pieces, a span goes on top of all.
    """
    running: list[tuple[Span, int]] = []
    result = []
    for span in sorted(spans, key=lambda s: (s.start_ns, s.model)):
        running = [(other, low) for other, low in running if other.end_ns > span.start_ns]
        low = _lowest_gap(span.gpu_percent, [(bottom, bottom + s.gpu_percent) for s, bottom in running])
        running.append((span, low))
        result.append((span, low))
    return result


def _lowest_gap(size: int, taken: Sequence[tuple[int, int]]) -> int:
    low = 0
    for bottom, top in sorted(taken):
        if bottom - low >= size:
            break
        low = max(low, top)
    return low


def busy_percent(spans: Iterable[Span], start_ns: int, end_ns: int, buckets: int) -> list[float]:
    """Return the mean granted GPU% in each of `buckets` equal parts of the time from start to end."""
    width = (end_ns - start_ns) / buckets
    area = [0.0] * buckets
    for span in spans:
        begin = max(0.0, (span.start_ns - start_ns) / width)
        end = min(float(buckets), (span.end_ns - start_ns) / width)
        while begin < end:
            bucket = int(begin)
            part_end = min(end, bucket + 1.0)
            area[bucket] += (part_end - begin) * span.gpu_percent
            begin = part_end
    return area
