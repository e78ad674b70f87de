"""What a worker takes of its GPU, tier by tier."""

import pytest

from kneescale.api.footprint import Footprint, footprint
from kneescale.api.vocabulary import Tier


@pytest.mark.parametrize(
    ("tier", "lanes", "expected"),
    [
        (Tier.GREEN_CONTEXTS, 10, Footprint(processes=1, clients=1, copies=1)),
        (Tier.MPS_CONTEXTS, 3, Footprint(processes=1, clients=4, copies=3)),
        (Tier.MPS_PROCESSES, 3, Footprint(processes=3, clients=3, copies=3)),
    ],
)
def test_a_worker_is_as_many_of_each_as_its_lanes_make_it(
    tier: Tier, lanes: int, expected: Footprint
) -> None:
    assert footprint(tier, lanes) == expected
