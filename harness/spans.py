"""GPU% held over time: what runs of known start and end add up to."""

from collections.abc import Iterable
from itertools import accumulate

#: From, to (CLOCK_MONOTONIC ns), and the GPU% held meanwhile.
Span = tuple[int, int, int]


def peak_percent(spans: Iterable[Span]) -> int:
    """The highest sum of GPU% at any instant; at one instant, ends come before starts."""
    return max(accumulate(change for _, change in edges(spans)), default=0)


def edges(spans: Iterable[Span]) -> list[tuple[int, int]]:
    """Each instant at which GPU% is taken or given back, and how much, in order."""
    return sorted(
        edge
        for start_ns, end_ns, gpu_percent in spans
        for edge in ((start_ns, gpu_percent), (end_ns, -gpu_percent))
    )
