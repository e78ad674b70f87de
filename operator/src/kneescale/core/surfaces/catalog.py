"""Figures of real models on real GPUs that the product carries: what the emulated backend waits out.

Each is a fit to published measurements (tools/fit_figures.py), not a measurement of ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import WHOLE_GPU_PERCENT

#: Of the URI of a model that is nowhere but here.
SCHEME = "catalog://"
#: The runs that surfaces of these figures have unless others are asked for: their sources measured no larger
#: batches.
GPU_PERCENTS = range(5, WHOLE_GPU_PERCENT + 1, 5)
BATCHES = (1, 2, 4, 8)

_V100 = "V100-SXM2-16GB"


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model's figures on one GPU product, and how far they are from their source.

    The error is the 90th percentile of |fitted / measured - 1| over the measured points.
    """

    name: str
    product: str
    parameters: Parameters
    p90_error: float

    def latency_ms(self, gpu_percent: int, batch: int) -> float:
        """f(p, b)."""
        return self.parameters.latency_ms(gpu_percent, batch)

    def surface(
        self, lanes: Sequence[int] = GPU_PERCENTS, batches: Sequence[int] = BATCHES
    ) -> LatencySurface:
        """The surface with a point at each lane and batch."""
        return self.parameters.surface(lanes, batches)


def _rapp(name: str, parameters: Parameters, p90_error: float) -> CatalogModel:
    """Of RaPP (GitHub: KontonGu/RaPP, commit 600348c1, Apache-2.0): batches 1 to 8 by PyTorch eager.

    It set the GPU% by CUDA_MPS_ACTIVE_THREAD_PERCENTAGE. Larger batches are extrapolated.
    """
    return CatalogModel(name, _V100, parameters, p90_error)


# Printed by tools/fit_figures.py. Those with a large error at the 90th percentile (mobilenet_v2, resnext50)
# have steps between GPU%s in their source that look like two hosts.
_MODELS = (
    _rapp("alexnet", Parameters(3.459, 0.1642, 15.4, 10.81), 0.070),  # median 0.028
    _rapp("convnext_base", Parameters(20.57, 0.966, 129, 263.6), 0.122),  # median 0.042
    _rapp("convnext_small", Parameters(20.72, 1.072, 85.77, 152.5), 0.103),  # median 0.047
    _rapp("convnext_tiny", Parameters(14.49, 0.4112, 30.54, 90.83), 0.054),  # median 0.022
    _rapp("densenet161", Parameters(50.19, 1.578, 81.58, 163.9), 0.040),  # median 0.020
    _rapp("densenet201", Parameters(58.49, 2.525, 115.7, 84.24), 0.040),  # median 0.014
    _rapp("efficientnet_b0", Parameters(27.37, 0.1471, 16.22, 22.06), 0.036),  # median 0.015
    _rapp("efficientnet_b2", Parameters(18.18, 0.6452, 23.5, 32.27), 0.059),  # median 0.022
    _rapp("efficientnet_b4", Parameters(25.62, 0.7518, 28.84, 66.81), 0.045),  # median 0.018
    _rapp("efficientnet_b7", Parameters(45.24, 1.846, 44.93, 189.2), 0.055),  # median 0.026
    _rapp("efficientnet_v2_m", Parameters(41.95, 1.604, 56.66, 121.6), 0.054),  # median 0.024
    _rapp("efficientnet_v2_s", Parameters(32.58, 1.037, 47.32, 58.16), 0.065),  # median 0.023
    _rapp("googlenet", Parameters(23.14, 0.2289, 20.54, 27.28), 0.030),  # median 0.011
    _rapp("inception_v3", Parameters(22.53, 1.272, 123.6, 39.57), 0.087),  # median 0.041
    _rapp("maxvit_t", Parameters(41.31, 1.71, 59.81, 131.9), 0.062),  # median 0.021
    _rapp("mnasnet1_0", Parameters(14.23, 0.2229, 14.01, 14.26), 0.039),  # median 0.022
    _rapp("mobilenet_v2", Parameters(11.08, 0.1874, 9.15, 17.96), 0.235),  # median 0.099
    _rapp("mobilenet_v3_large", Parameters(10.83, 0.4554, 49.37, 11.96), 0.097),  # median 0.027
    _rapp("mobilenet_v3_small", Parameters(14.57, 0.05952, 7.489, 7.92), 0.032),  # median 0.016
    _rapp("regnet_y_8gf", Parameters(32.74, 2.362, 135.9, 178.6), 0.102),  # median 0.042
    _rapp("resnet18", Parameters(9.086, 0.1443, 19.06, 22.57), 0.138),  # median 0.040
    _rapp("resnet34", Parameters(15.11, 0.316, 41.21, 39.38), 0.056),  # median 0.022
    _rapp("resnet50", Parameters(20.86, 0.7518, 45.71, 63.13), 0.048),  # median 0.019
    _rapp("resnext101_32x8d", Parameters(39.45, 1.985, 162, 292.1), 0.084),  # median 0.029
    _rapp("resnext50_32x4d", Parameters(19.51, 1.433, 121.8, 70.32), 0.298),  # median 0.096
    _rapp("shufflenet_v2_x1_0", Parameters(10.36, 0.05268, 6.193, 7.204), 0.055),  # median 0.028
    _rapp("squeezenet1_0", Parameters(3.818, 0.1912, 5.349, 21.7), 0.067),  # median 0.037
    _rapp("squeezenet1_1", Parameters(7.175, 0.2146, 4.094, 10.13), 0.037),  # median 0.015
    _rapp("vgg11", Parameters(3.614, 0.3812, 46.45, 72.93), 0.093),  # median 0.034
    _rapp("vgg16", Parameters(4.727, 0.6285, 82.83, 134.6), 0.084),  # median 0.030
    _rapp("vgg19", Parameters(6.364, 1.03, 96.42, 162.9), 0.107),  # median 0.038
    _rapp("wide_resnet101_2", Parameters(18.11, 1.654, 284.8, 259.5), 0.105),  # median 0.051
    _rapp("wide_resnet50_2", Parameters(10.6, 0.9008, 103.9, 153.3), 0.078),  # median 0.029
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
