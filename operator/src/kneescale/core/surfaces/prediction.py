"""A latency surface before any measurement: from the work of a model's kernels and a GPU's datasheet.

D-STACK's analytical model (arXiv 2304.13541, as recalled) sums over the kernels: parallel operations over the
SMs that they can use, and memory traffic over the bandwidth that those SMs can draw. To it come the blocks in
which a kernel's results are computed, which is what an SM can take of it, and the launches: no kernel starts
before the host has issued it, one after the other, nor before the kernel before it has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kneescale.core.surfaces.gpu_products import GpuProduct
from kneescale.core.surfaces.kernel_work import KernelWork
from kneescale.core.surfaces.latency_model import Floats, Runs
from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import MS_PER_S, US_PER_S


@dataclass(frozen=True, slots=True)
class ExecutionStack:
    """What software makes of a GPU."""

    #: The host's time to issue one kernel.
    launch_us: float
    #: Of the datasheet's peak and bandwidth, what kernels reach.
    compute_efficiency: float
    bandwidth_efficiency: float
    #: Results that one block of a kernel computes: the least that keeps an SM busy.
    results_per_block: float
    #: Share of the SMs that draws the whole bandwidth.
    bandwidth_saturation: float
    #: Of the tensor cores' peak, what convolutions in TF32 reach; 0 where none are run so.
    tensor_efficiency: float = 0.0


#: Fitted by tools/fit_prediction.py to 18 models of RaPP (GitHub: KontonGu/RaPP, commit 600348c1) on a V100,
#: and rounded.
EAGER_PYTORCH = ExecutionStack(
    launch_us=100,
    compute_efficiency=0.64,
    bandwidth_efficiency=0.56,
    results_per_block=1800,
    bandwidth_saturation=0.28,
)
#: The worker's own: no Python issues the kernels. Four models took 13 us (DenseNet-201) to 28 us
#: (Wide-ResNet-101) for each on an H100's host (docs/gpu-checklist.md).
#: There convolutions ran in TF32, as is torch's default; of its peak they reached 0.3.
TORCHSCRIPT = replace(EAGER_PYTORCH, launch_us=20, tensor_efficiency=0.3)

#: Of published models that the constants had not seen, nine in ten runs were off by up to this part (ADR 15).
KERNELS_PREDICT_TO = 0.8


def predict_latency_ms(
    kernels: Sequence[KernelWork], product: GpuProduct, stack: ExecutionStack, runs: Runs
) -> Floats:
    """f of each run, in ms, for a model that launches `kernels` in this order."""
    on_gpu_s = _on_gpu_s(kernels, product, stack, runs)
    # A kernel and all after it take at least their time, from when it was issued; the last one rules.
    from_here_s = np.cumsum(on_gpu_s[::-1], axis=0)[::-1]
    issued_s = np.arange(1, len(kernels) + 1) * stack.launch_us / US_PER_S
    latency_ms: Floats = MS_PER_S * np.max(issued_s[:, None] + from_here_s, axis=0)
    return latency_ms


def predicted_to_measured(
    kernels: Sequence[KernelWork], product: GpuProduct, stack: ExecutionStack, points: Sequence[Point]
) -> Floats:
    """Predicted over measured latency at each of the measured points."""
    runs = Runs.of((point.gpu_percent, point.batch) for point in points)
    measured_ms = np.array([point.latency_ms for point in points])
    ratio: Floats = predict_latency_ms(kernels, product, stack, runs) / measured_ms
    return ratio


def predicted_surface(
    kernels: Sequence[KernelWork],
    product: GpuProduct,
    stack: ExecutionStack,
    lanes: Sequence[int],
    batches: Sequence[int],
) -> LatencySurface:
    """The predicted surface with a point at each lane and batch."""
    pairs = [(lane, batch) for lane in lanes for batch in batches]
    predicted = predict_latency_ms(kernels, product, stack, Runs.of(pairs))
    return LatencySurface.from_points(
        Point(*pair, float(latency_ms)) for pair, latency_ms in zip(pairs, predicted, strict=True)
    )


def _on_gpu_s(
    kernels: Sequence[KernelWork], product: GpuProduct, stack: ExecutionStack, runs: Runs
) -> Floats:
    """Each kernel's time on the GPU in each run (k x n): its computation, then its memory traffic."""
    results = np.array([[kernel.results] for kernel in kernels]) * runs.batches
    item_bytes = np.array([[kernel.item_bytes] for kernel in kernels])
    batch_bytes = np.array([[kernel.batch_bytes] for kernel in kernels])
    sms = np.array([product.sms(int(percent)) for percent in runs.gpu_percents])

    # The SM with the most blocks ends last; a block takes as long as a full one, unless it is the only one.
    most_blocks = np.ceil(np.ceil(results / stack.results_per_block) / sms)
    most_results = most_blocks * np.minimum(results, stack.results_per_block)
    computing_s = most_results * _s_per_result(kernels, product, stack) * product.sm_count

    drawn = np.minimum(1, sms / (stack.bandwidth_saturation * product.sm_count))
    bytes_per_s = stack.bandwidth_efficiency * product.bytes_per_s * drawn
    moving_s = (item_bytes * runs.batches + batch_bytes) / bytes_per_s
    on_gpu_s: Floats = computing_s + moving_s
    return on_gpu_s


def _s_per_result(kernels: Sequence[KernelWork], product: GpuProduct, stack: ExecutionStack) -> Floats:
    """What a result of each kernel (k x 1) takes of the whole GPU, on tensor cores where those are faster."""
    operations = np.array([[kernel.operations / kernel.results] for kernel in kernels])
    seconds: Floats = operations / (stack.compute_efficiency * product.flops_per_s)
    tensor_ops_per_s = stack.tensor_efficiency * product.tf32_per_s
    if not tensor_ops_per_s:
        return seconds
    convolutions = np.array([[kernel.convolution_operations / kernel.results] for kernel in kernels])
    return np.where(convolutions > 0, np.minimum(seconds, convolutions / tensor_ops_per_s), seconds)
