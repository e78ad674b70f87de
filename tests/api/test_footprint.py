"""What a worker takes of its GPU, tier by tier."""

import pytest

from kneescale.api.footprint import Footprint, footprint
from kneescale.api.resource_slice import GpuDevice
from kneescale.core.backends import Backend
from kneescale.core.tiers import Tier


@pytest.mark.parametrize(
    ("tier", "lanes", "expected"),
    [
        (Tier.GREEN_CONTEXTS, tuple(range(10, 101, 10)), Footprint(processes=1, clients=1, copies=1)),
        (Tier.MPS_CONTEXTS, (20, 20, 40), Footprint(processes=1, clients=4, copies=3)),
        (Tier.MPS_PROCESSES, (20, 20, 40), Footprint(processes=3, clients=3, copies=3)),
        # Of an H100's 16 chunks: whole ones, rounded up.
        (Tier.SM_PARTITIONS, (10,), Footprint(processes=1, clients=2, copies=1)),
        (Tier.SM_PARTITIONS, (50,), Footprint(processes=1, clients=8, copies=1)),
        (Tier.SM_PARTITIONS, (100,), Footprint(processes=1, clients=16, copies=1)),
    ],
)
def test_a_worker_is_as_many_of_each_as_its_lanes_make_it(
    tier: Tier, lanes: tuple[int, ...], expected: Footprint
) -> None:
    device = GpuDevice("node1", "gpu0", "GPU-1", "H100", Backend.CUDA_MPS, tier, 10, 80 << 30, clients=16)
    assert footprint(device, lanes) == expected
