"""Figures of real models on real GPUs that the product carries: what the emulated backend waits out.

Each is a fit to published measurements (tools/fit_figures.py), not a measurement of ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kneescale.core.errors import InvalidInputError
from kneescale.core.parametric import Parameters
from kneescale.core.surface import LatencySurface

_V100 = "V100-SXM2-16GB"
_RAPP = (
    "RaPP (GitHub: KontonGu/RaPP, commit 600348c1, Apache-2.0): PyTorch eager under "
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE, batches 1 to 8; larger ones are extrapolated"
)


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model's figures on one GPU product, their source, and how far they are from it.

    The errors are the median and the 90th percentile of |fitted / measured - 1| over the measured points.
    """

    name: str
    product: str
    source: str
    parameters: Parameters
    median_error: float
    p90_error: float

    def latency_ms(self, gpu_percent: int, batch: int) -> float:
        """f(p, b)."""
        return self.parameters.latency_ms(gpu_percent, batch)

    def surface(self, lanes: Sequence[int], batches: Sequence[int]) -> LatencySurface:
        """The surface with a point at each lane and batch."""
        return self.parameters.surface(lanes, batches)


def _rapp(name: str, parameters: Parameters, median_error: float, p90_error: float) -> CatalogModel:
    return CatalogModel(name, _V100, _RAPP, parameters, median_error, p90_error)


# Printed by tools/fit_figures.py. MobileNet's source has steps between GPU%s that look like two hosts.
_MODELS = (
    _rapp("alexnet", Parameters(3.459, 0.1667, 15.59, 10.73), 0.027, 0.071),
    _rapp("inception_v3", Parameters(22.53, 1.303, 124.9, 38.83), 0.041, 0.088),
    _rapp("mobilenet_v2", Parameters(11.08, 0.235, 9.642, 17.47), 0.099, 0.235),
    _rapp("resnet18", Parameters(9.086, 0.149, 19.63, 22.4), 0.040, 0.138),
    _rapp("resnet50", Parameters(20.86, 0.7729, 46.36, 62.67), 0.019, 0.048),
    _rapp("vgg19", Parameters(6.362, 1.032, 96.81, 162.7), 0.038, 0.107),
)
_BY_KEY = {(model.name, model.product): model for model in _MODELS}


def catalog() -> tuple[CatalogModel, ...]:
    """Every model there are figures of, by name."""
    return _MODELS


def lookup(name: str, product: str) -> CatalogModel:
    """The figures of one model on one product.

    Raises InvalidInputError, naming those there are, on any other.
    """
    model = _BY_KEY.get((name, product))
    if model is None:
        have = ", ".join(known for known, on in _BY_KEY if on == product) or "nothing"
        raise InvalidInputError(f"the catalog has no figures of {name} on {product}; on it, it has {have}")
    return model
