"""SMs, MPS limits and tiers, as NVIDIA's documents have them."""

import pytest

from kneescale.agent.gpu_abilities import (
    can_be_shared,
    client_limit,
    has_static_partitions,
    mps_protocol,
    sm_chunks,
    sm_count,
    tiers,
)
from kneescale.agent.gpu_library import Version
from kneescale.core.surfaces.gpu_products import gpu_product
from kneescale.core.tiers import Tier


@pytest.mark.parametrize(
    ("product", "cores", "capability"),
    [
        ("V100-SXM2-16GB", 5120, Version(7, 0)),
        ("T4", 2560, Version(7, 5)),
        ("A100-SXM4-40GB", 6912, Version(8, 0)),
        ("H100-SXM5-80GB", 16896, Version(9, 0)),
        ("H100-PCIe-80GB", 14592, Version(9, 0)),
    ],
)
def test_cores_give_the_sms_of_the_datasheet(product: str, cores: int, capability: Version) -> None:
    assert sm_count(cores, capability) == gpu_product(product).sm_count


def test_sms_of_an_unknown_architecture_are_not_made_up() -> None:
    assert sm_count(20_000, Version(99, 0)) == 0


@pytest.mark.parametrize(
    ("cuda", "allowed"),
    [
        (
            Version(13, 1),
            (Tier.MPS_PROCESSES, Tier.MPS_CONTEXTS, Tier.GREEN_CONTEXTS, Tier.SM_PARTITIONS),
        ),
        (Version(12, 8), (Tier.MPS_PROCESSES, Tier.MPS_CONTEXTS, Tier.GREEN_CONTEXTS)),
        (Version(12, 7), (Tier.MPS_PROCESSES, Tier.MPS_CONTEXTS)),
        (Version(11, 4), (Tier.MPS_PROCESSES, Tier.MPS_CONTEXTS)),
        (Version(11, 3), (Tier.MPS_PROCESSES,)),
    ],
)
def test_tiers_follow_from_the_drivers_cuda_the_best_for_sharing_first(
    cuda: Version, allowed: tuple[Tier, ...]
) -> None:
    assert tiers(cuda, Version(8, 0)) == allowed


def test_an_old_gpu_has_no_sm_partitions_and_newer_ones_have_them_in_chunks() -> None:
    assert Tier.SM_PARTITIONS not in tiers(Version(13, 1), Version(7, 5))
    assert (sm_chunks(108, Version(8, 0)), sm_chunks(132, Version(9, 0))) == (27, 16)


def test_what_mps_can_do_follows_from_driver_and_architecture() -> None:
    assert not can_be_shared(Version(6, 1))
    assert can_be_shared(Version(7, 0))
    assert (client_limit(Version(13, 0)), client_limit(Version(13, 1))) == (48, 60)
    assert has_static_partitions(Version(13, 1), Version(8, 0))
    assert not has_static_partitions(Version(13, 1), Version(7, 5))
    assert not has_static_partitions(Version(13, 0), Version(9, 0))
    assert (mps_protocol(Version(610, 99)), mps_protocol(Version(615, 1))) == (2, 3)
