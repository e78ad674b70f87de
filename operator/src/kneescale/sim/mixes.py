"""Mixes of models that schedulers are compared on: their SLOs, and rates that load one GPU fully."""

from collections.abc import Iterable, Mapping, Sequence

from kneescale.core.planning.fluid import least_area_per_item
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.scenario import ScenarioModel
from kneescale.sim.tenant import Tenant

#: After D-STACK's mixes (arXiv 2304.13541, as recalled), whose C-7 has ResNet-18 in SqueezeNet's place.
PAPER_MIXES: Mapping[str, tuple[str, ...]] = {
    "C-2": ("alexnet", "mobilenet_v2"),
    "C-3": ("alexnet", "mobilenet_v2", "resnet50"),
    "C-4": ("alexnet", "mobilenet_v2", "resnet50", "vgg19"),
    "C-7": (
        "alexnet",
        "mobilenet_v2",
        "resnet50",
        "vgg19",
        "inception_v3",
        "resnext50_32x4d",
        "squeezenet1_0",
    ),
}

#: The SLO of a mix's model: so many times the latency of this batch at the knee, and no less than so many ms.
SLO_BATCH = 8
SLO_FACTOR = 3.0
LEAST_SLO_MS = 25.0

#: The knee of a mix's model: the smallest GPU% whose latency is at most this much above that of a whole GPU.
KNEE_SLACK = 0.10


def knee_percent(surface: LatencySurface, batch: int = SLO_BATCH) -> int:
    """The smallest GPU% within 10 % of the latency of a whole GPU."""
    within_ms = (1 + KNEE_SLACK) * surface.latency_ms(WHOLE_GPU_PERCENT, batch)
    return next(
        percent for percent in surface.gpu_percents if surface.latency_ms(percent, batch) <= within_ms
    )


def mix_slo_ms(surface: LatencySurface, factor: float = SLO_FACTOR) -> float:
    """The SLO of a model in a mix: so many times its latency at the knee, and no less than 25 ms."""
    return max(LEAST_SLO_MS, factor * surface.latency_ms(knee_percent(surface), SLO_BATCH))


def area_rate_rps(surface: LatencySurface, slo_ms: float, share: float) -> float:
    """The rate that takes `share` of a GPU's area in the cheapest runs that end within the SLO.

    Models whose shares add up to 1 have a fluid bound of 1 together.
    """
    return share * WHOLE_GPU_PERCENT / least_area_per_item(surface, slo_ms)


def mix(
    surfaces: Mapping[str, LatencySurface],
    shares: Sequence[float] | None = None,
    *,
    slos_ms: Mapping[str, float] | None = None,
) -> tuple[ScenarioModel, ...]:
    """Models by name, each with its share of one GPU's area, by default all alike, and its SLO."""
    shares = shares or [1 / len(surfaces)] * len(surfaces)
    slos_ms = slos_ms or {name: mix_slo_ms(surface) for name, surface in surfaces.items()}
    return tuple(
        ScenarioModel(
            name=name,
            slo_ms=slos_ms[name],
            rate_rps=area_rate_rps(surface, slos_ms[name], share),
            weight=1,
            surface=surface,
            surfaces={"": surface},
        )
        for (name, surface), share in zip(surfaces.items(), shares, strict=True)
    )


def tenants_of(models: Iterable[ScenarioModel]) -> tuple[Tenant, ...]:
    """The models of a mix, all on one GPU."""
    return tuple(
        Tenant(model.name, model.slo_ms, model.rate_rps, model.surface, model.weight) for model in models
    )
