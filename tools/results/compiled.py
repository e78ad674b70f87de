"""Latency surfaces of compiled engines: another stack than that of the measured surfaces.

TensorRT engines on a V100, as published with iGniter (GitHub: icloud-ecnu/igniter, commit 98b0ff44). Its nine
measured runs of each model, batches 1, 16 and 32 at 10, 50 and 100 GPU%, are within 7 % of the figures here;
the formula is iGniter's own without its square of the batch. Some constants of the policy were chosen with
mixes of them in view (docs/adr/0031, 0032).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import WHOLE_GPU_PERCENT

_BATCHES = (1, 2, 4, 8, 16, 32)
_STEP_PERCENT = 5


@dataclass(frozen=True, slots=True)
class _Figures:
    """f(p, b) = (batch_work + item_work * b) / (p + floor_percent) + fixed_ms, the works in GPU% x ms."""

    batch_work: float
    item_work: float
    floor_percent: float
    fixed_ms: float

    def latency_ms(self, gpu_percent: int, batch: int) -> float:
        work = self.batch_work + self.item_work * batch
        return work / (gpu_percent + self.floor_percent) + self.fixed_ms


_FIGURES = {
    "alexnet": _Figures(22.4, 8.96, 0.0222, 0.369),
    "resnet50": _Figures(2.85, 59.5, 0.625, 1.72),
    "vgg19": _Figures(48.6, 166.0, 0.68, 0.616),
    "ssd": _Figures(0.697, 249.0, 0.864, 2.06),
}


def compiled_surfaces() -> dict[str, LatencySurface]:
    """The surfaces by model."""
    return {name: LatencySurface.from_points(_points(figures)) for name, figures in _FIGURES.items()}


def _points(figures: _Figures) -> Iterator[Point]:
    for batch in _BATCHES:
        for gpu_percent in range(_STEP_PERCENT, WHOLE_GPU_PERCENT + 1, _STEP_PERCENT):
            yield Point(gpu_percent, batch, figures.latency_ms(gpu_percent, batch))
