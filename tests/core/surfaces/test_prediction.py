from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.gpu_products import gpu_product
from kneescale.core.surfaces.kernel_work import KernelWork, convolution, elementwise, linear
from kneescale.core.surfaces.latency_model import Runs
from kneescale.core.surfaces.prediction import (
    EAGER_PYTORCH,
    TORCHSCRIPT,
    predict_latency_ms,
    predicted_surface,
    predicted_to_measured,
)
from kneescale.core.surfaces.surface import Point
from tests.core.sample_surfaces import LANES

V100 = gpu_product("V100-SXM2-16GB")
#: 100 ms on a V100 at its peak, in more blocks than it has SMs; no memory to speak of.
LARGE = KernelWork(operations=1.57e12, results=50_000_000, item_bytes=4)
TINY = KernelWork(operations=1000, results=100, item_bytes=400)

kernels = st.builds(
    KernelWork, st.floats(1, 1e11), st.integers(1, 10**7), st.integers(0, 10**9), st.integers(0, 10**9)
)


def latency_ms(work: list[KernelWork], gpu_percent: int, batch: int, product: str = V100.name) -> float:
    return float(
        predict_latency_ms(work, gpu_product(product), EAGER_PYTORCH, Runs.of([(gpu_percent, batch)]))[0]
    )


def test_a_large_kernel_takes_its_operations_at_what_kernels_reach_of_the_peak() -> None:
    assert latency_ms([LARGE], 100, 1) == pytest.approx(100 / EAGER_PYTORCH.compute_efficiency, rel=0.01)
    assert latency_ms([LARGE], 20, 1) == pytest.approx(5 * latency_ms([LARGE], 100, 1), rel=0.01)


def test_many_small_kernels_take_their_launches() -> None:
    assert latency_ms([TINY] * 200, 5, 1) == pytest.approx(0.2 * EAGER_PYTORCH.launch_us, rel=0.01)


def test_launches_go_on_while_the_gpu_works() -> None:
    assert latency_ms([LARGE] + [TINY] * 200, 100, 1) == pytest.approx(latency_ms([LARGE], 100, 1), rel=0.01)
    assert latency_ms([TINY] * 200 + [LARGE], 100, 1) > latency_ms([LARGE], 100, 1) + 15


def test_a_kernel_uses_no_more_sms_than_it_has_blocks() -> None:
    # Eight blocks: 10 GPU% of a V100.
    few = KernelWork(operations=1e10, results=8 * 1800, item_bytes=4)
    assert latency_ms([few], 10, 1) == pytest.approx(latency_ms([few], 100, 1), rel=0.01)
    assert latency_ms([few], 5, 1) == pytest.approx(2 * latency_ms([few], 100, 1), rel=0.05)
    assert latency_ms([few], 100, 10) == pytest.approx(latency_ms([few], 100, 1), rel=0.05)


def test_memory_traffic_needs_few_sms() -> None:
    copy = elementwise(100_000_000)
    assert latency_ms([copy], 40, 1) == pytest.approx(latency_ms([copy], 100, 1), rel=0.05)


def test_weights_are_read_once_a_batch() -> None:
    layer = linear(30_000, 10_000)
    assert latency_ms([layer], 100, 8) < 1.5 * latency_ms([layer], 100, 1)


def test_a_smaller_gpu_is_slower() -> None:
    by_product = [latency_ms([LARGE], 100, 1, product) for product in ("T4", V100.name, "A100-SXM4-40GB")]
    assert by_product == sorted(by_product, reverse=True)


def test_convolutions_run_on_tensor_cores_where_there_are_some() -> None:
    dense, grouped = (convolution(2048, 56, 2048, 56, 1, groups=groups) for groups in (1, 2048))

    def speedup(work: KernelWork, product: str) -> float:
        runs, gpu = Runs.of([(100, 8)]), gpu_product(product)
        eager, torchscript = (
            predict_latency_ms([work], gpu, replace(stack, launch_us=0), runs)[0]
            for stack in (EAGER_PYTORCH, TORCHSCRIPT)
        )
        return float(eager / torchscript)

    assert speedup(dense, "H100-SXM5-80GB") > 1.5
    assert speedup(dense, V100.name) == 1
    assert speedup(grouped, "H100-SXM5-80GB") == 1


def test_layers_are_counted_as_published() -> None:
    # ResNet's first layer: 118 million multiplications and additions, 9,408 weights.
    first = convolution(3, 224, 64, 112, 7)
    assert (first.operations, first.batch_bytes) == (2 * 118_013_952, 4 * 9_408)
    # Grouped: every output looks at its own inputs alone; 3 x 3 at stride 1 is spared multiplications.
    assert convolution(64, 56, 64, 56, 3, groups=64).operations == 2 * 64 * 56**2 * 9
    assert convolution(64, 56, 64, 56, 3).operations == pytest.approx(2 * 64 * 56**2 * 64 * 9 / 2.25)


@pytest.mark.parametrize(
    ("operations", "results", "item_bytes", "fault"),
    [
        (1, 0, 4, r"whole number of results, 1 to 1e\+18, not 0"),
        (-1, 1, 4, r"0 to 1e\+18, not -1"),
        (float("nan"), 1, 4, r"0 to 1e\+18, not nan"),
        (1, 1, -4, r"0 to 1e\+18, not -4"),
    ],
)
def test_what_no_kernel_can_be_is_refused(
    operations: float, results: int, item_bytes: int, fault: str
) -> None:
    with pytest.raises(InvalidInputError, match=fault):
        KernelWork(operations, results, item_bytes)


def test_a_prediction_is_compared_with_what_was_measured() -> None:
    points = [Point(percent, 4, 2 * latency_ms([LARGE], percent, 4)) for percent in (10, 100)]
    ratio = predicted_to_measured([LARGE], V100, EAGER_PYTORCH, points)
    assert ratio == pytest.approx([0.5, 0.5])


def test_an_mps_client_has_its_share_in_whole_clusters_as_seen_on_an_h200() -> None:
    h200 = gpu_product("H200")
    assert [h200.sms(percent) for percent in (10, 20, 30, 50, 70, 100)] == [12, 26, 38, 66, 92, 132]
    assert h200.sms(1) == 2


def test_an_unknown_product_is_told_what_there_is() -> None:
    with pytest.raises(InvalidInputError, match="no datasheet of K80; there are those of V100-SXM2-16GB, T4"):
        gpu_product("K80")


def test_the_surface_is_the_prediction() -> None:
    surface = predicted_surface([LARGE, TINY], V100, EAGER_PYTORCH, LANES, (1, 4))
    assert surface.latency_ms(30, 4) == pytest.approx(latency_ms([LARGE, TINY], 30, 4))


@given(st.lists(kernels, min_size=1, max_size=5))
def test_more_gpu_is_never_slower_and_more_items_never_faster(work: list[KernelWork]) -> None:
    by_percent = predict_latency_ms(work, V100, EAGER_PYTORCH, Runs.of((p, 4) for p in LANES))
    by_batch = predict_latency_ms(work, V100, EAGER_PYTORCH, Runs.of((50, b) for b in range(1, 17)))
    assert np.all(np.diff(by_percent) <= 1e-9 * by_percent[0])
    assert np.all(np.diff(by_batch) >= -1e-9 * by_batch[-1])
