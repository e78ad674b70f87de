"""`predict`: what a model's kernels and a datasheet say of its latency, found out on one CPU core."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from kneescale.core.surfaces.gpu_products import gpu_product
from kneescale.core.surfaces.prediction import KERNELS_PREDICT_TO, TORCHSCRIPT, predicted_surface
from kneescale.core.surfaces.surface import doubling_batches
from kneescale.core.units import PERCENT
from kneescale.core.worker_message import EXPECTED_ERROR_PERCENT, POINTS
from kneescale_worker.profile import lanes_to_measure, triples


@dataclass(frozen=True, slots=True)
class PredictionRequest:
    """What to predict: a model's folder, the GPU product, its lanes, and the most items of a batch."""

    model_dir: Path
    product: str
    lanes: Sequence[int]
    max_batch: int


def predict(request: PredictionRequest) -> dict[str, Any]:
    """The predicted points as the operator reads them: [GPU%, batch, latency in us].

    Raises LoadError where the model's kernels cannot be read, InvalidInputError where the product is unknown.
    """
    # Only here: an emulated worker runs without torch.
    from kneescale_worker.torch_executor import TorchExecutor

    product = gpu_product(request.product)
    # One core: the rest is for the models that serve on this node.
    executor = TorchExecutor(request.model_dir, frozenset({min(os.sched_getaffinity(0))}))
    executor.load()
    executor.warm_up()
    lanes, batches = lanes_to_measure(request.lanes), doubling_batches(request.max_batch)
    surface = predicted_surface(executor.kernels(), product, TORCHSCRIPT, lanes, batches)
    return {
        POINTS: triples(surface.points),
        EXPECTED_ERROR_PERCENT: ceil(PERCENT * KERNELS_PREDICT_TO),
    }
