"""Lanes that fit into a CPU device together have no more cores than there are, on a machine of any size."""

import pytest

from kneescale.core.cpu_lanes import lane_cores, lane_percent_step
from kneescale.core.units import WHOLE_GPU_PERCENT


def _most_cores(lanes: dict[int, int]) -> int:
    """The most that lanes of 100 GPU% in sum can have together, of cores by lane."""
    most = [0]
    for percent in range(1, WHOLE_GPU_PERCENT + 1):
        most.append(
            max((most[percent - lane] + n for lane, n in lanes.items() if lane <= percent), default=0)
        )
    return most[-1]


@pytest.mark.parametrize("cores", range(1, 257))
def test_whatever_lanes_fit_together_have_at_most_all_cores(cores: int) -> None:
    step = lane_percent_step(cores)
    lanes = {percent: lane_cores(cores, percent) for percent in range(step, WHOLE_GPU_PERCENT + 1, step)}
    assert min(lanes.values()) >= 1
    assert _most_cores(lanes) <= cores
    assert lanes[max(lanes)] == lane_cores(cores, WHOLE_GPU_PERCENT) == cores
