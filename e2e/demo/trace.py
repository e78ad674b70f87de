"""The agents' own trace of grants: what ran when on each device."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """One grant, from the moment at which it was given until its batch had ended."""

    model: str
    gpu_percent: int
    batch: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class DeviceTrace:
    """The grants on one device; times are of the agent's own clock, which read `now_ns` at the end."""

    node: str
    device: str
    backend: str
    now_ns: int
    spans: tuple[Span, ...]
    #: Instants, since the agent started, at which it saw the sum of granted GPU% pass 100.
    overcommitted: int


def parse_trace(answer: Mapping[str, Any]) -> list[DeviceTrace]:
    """Read what an agent answers to GET /trace. Raises KeyError where something is missing."""
    return [
        DeviceTrace(
            node=answer["node"],
            device=device["name"],
            backend=answer["backend"],
            now_ns=answer["now_ns"],
            spans=tuple(_span(grant) for grant in device["grants"]),
            overcommitted=device["overcommitted"],
        )
        for device in answer["devices"]
    ]


def _span(grant: Mapping[str, Any]) -> Span:
    return Span(
        model=grant["model"],
        gpu_percent=grant["gpu_percent"],
        batch=grant["batch"],
        start_ns=grant["granted_ns"],
        end_ns=grant["ended_ns"],
    )


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


def overcommitted(trace: DeviceTrace) -> int:
    """Return at how many instants more than 100 GPU% was granted, by the spans and by the agent."""
    return max(trace.overcommitted, sum(percent > 100 for _, percent in levels(trace.spans)))


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
