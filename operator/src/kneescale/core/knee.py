"""The knee: the GPU% past which more GPU hardly makes a batch faster."""

from kneescale.core.surface import LatencySurface
from kneescale.core.units import WHOLE_GPU_PERCENT

#: A step of this many GPU% that saves less than this share of the latency is past the knee. D-STACK
#: (arXiv 2304.13541) finds the knee with the latency's first derivative; the two numbers are ours. With them
#: a latency in proportion to 1/p, of which every SM has its use, has no knee.
KNEE_STEP_PERCENT = 10
KNEE_SAVING = 0.10


def find_knee(surface: LatencySurface, batch: int | None = None) -> int | None:
    """The smallest of the surface's GPU%s past which no step of 10 GPU% saves 10 % of the latency.

    For batches of `batch` items, by default the largest measured. None where the latency falls to the end.
    """
    batch = batch or surface.batches[-1]
    knee = None
    for percent in reversed(surface.gpu_percents):
        further = percent + KNEE_STEP_PERCENT
        if further > WHOLE_GPU_PERCENT:
            continue
        here, there = surface.latency_ms(percent, batch), surface.latency_ms(further, batch)
        if here - there >= KNEE_SAVING * here:
            break
        knee = percent
    return knee
