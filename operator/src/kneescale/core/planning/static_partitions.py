"""The best that static partitions can do: each model has one GPU% for good, and one batch in flight.

What a GPU that is shared by fixed MPS percentages, adding up to 100, can carry at most: batches always full.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kneescale.core.planning.fluid import Workload, most_items_per_s
from kneescale.core.units import WHOLE_GPU_PERCENT


@dataclass(frozen=True, slots=True)
class StaticPartitions:
    """The largest factor on all rates, and each model's GPU% by name; 0 and none where they find no room."""

    load: float
    gpu_percents: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Split:
    """The best split of a sum of GPU% among the models so far."""

    load: float
    gpu_percents: tuple[int, ...]


def best_static_partitions(workloads: Sequence[Workload], product: str) -> StaticPartitions:
    """The partitions of one GPU at which the worst-off model's load is largest.

    Exact over the surfaces' GPU%s and those below the smallest: by dynamic programming over models and the
    sum of their GPU%.
    """
    best: dict[int, _Split] = {0: _Split(float("inf"), ())}
    for workload in workloads:
        best = _with_one_more(best, _loads(workload, product))
    if not best:
        return StaticPartitions(0.0, {})
    split = max(best.values(), key=lambda split: split.load)
    names = [workload.name for workload in workloads]
    return StaticPartitions(split.load, dict(zip(names, split.gpu_percents, strict=True)))


def _with_one_more(best: dict[int, _Split], loads: dict[int, float]) -> dict[int, _Split]:
    """The best split for each sum of GPU% when a model with these loads by GPU% joins."""
    joined: dict[int, _Split] = {}
    for taken, split in best.items():
        for percent, load in loads.items():
            total, least = taken + percent, min(split.load, load)
            if total <= WHOLE_GPU_PERCENT and (total not in joined or least > joined[total].load):
                joined[total] = _Split(least, (*split.gpu_percents, percent))
    return joined


def _loads(workload: Workload, product: str) -> dict[int, float]:
    """The factor on the model's rate that each GPU% carries with one full batch after the other."""
    surface = workload.surfaces[product]
    percents = (*range(1, surface.gpu_percents[0]), *surface.gpu_percents)
    most_rps = most_items_per_s(surface, workload.limit_ms, percents)
    return {percent: rps / workload.rate_rps for percent, rps in most_rps.items()}
