import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.errors import InfeasibleError
from kneescale.core.surfaces.gpu_products import gpu_product
from kneescale.mps.sm_partitions import chunk_sms, chunks_for

_HOPPER, _AMPERE, _VOLTA = (9, 0), (8, 0), (7, 0)


@pytest.mark.parametrize(
    ("product", "architecture", "gpu_percent", "chunks"),
    [
        ("H100-SXM5-80GB", _HOPPER, 10, 2),
        ("H100-SXM5-80GB", _HOPPER, 30, 5),
        ("H100-SXM5-80GB", _HOPPER, 100, 16),
        ("A100-SXM4-40GB", _AMPERE, 10, 3),
        ("A100-SXM4-40GB", _AMPERE, 100, 27),
    ],
)
def test_a_knee_is_rounded_up_to_chunks(
    product: str, architecture: tuple[int, int], gpu_percent: int, chunks: int
) -> None:
    assert chunks_for(gpu_percent, gpu_product(product).sm_count, architecture) == chunks


def test_an_architecture_without_partitions_says_so() -> None:
    with pytest.raises(InfeasibleError, match=r"7\.0 has no static SM partitions; 8\.0 and newer have"):
        chunk_sms(_VOLTA)


@given(st.integers(1, 100), st.integers(8, 200), st.sampled_from([_AMPERE, _HOPPER]))
def test_chunks_hold_the_share_and_fit_the_gpu(
    gpu_percent: int, sm_count: int, architecture: tuple[int, int]
) -> None:
    size = chunk_sms(architecture)
    chunks = chunks_for(gpu_percent, sm_count, architecture)
    assert 1 <= chunks <= sm_count // size
    share = sm_count * gpu_percent / 100
    assert chunks * size >= share or chunks == sm_count // size
    assert (chunks - 1) * size < share
