"""The choice of GPU% and batch: D-STACK's efficacy, maximised under the SLO (arXiv 2304.13541)."""

from collections.abc import Sequence
from dataclasses import dataclass

from kneescale.core.errors import InfeasibleError
from kneescale.core.surfaces.knee import efficacy
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import WHOLE_GPU_PERCENT

_MS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class Configuration:
    """A model's planned run: its GPU% and batch, and what they are worth.

    `efficacy` is b / (f^2 * p), with f in ms and p in percent; `area_permille` the share of a GPU's area
    (GPU% x time) that the model's rate takes, in thousandths.
    """

    gpu_percent: int
    batch: int
    latency_ms: float
    efficacy: float
    area_permille: int


def gather_ms(batch: int, rate_rps: float | None) -> float:
    """How long the first item of a batch waits for the last one; 0 where the rate is not known."""
    return (batch - 1) * _MS_PER_S / rate_rps if rate_rps else 0.0


def choose_configuration(
    surface: LatencySurface,
    *,
    slo_ms: float,
    rate_rps: float | None,
    lanes: Sequence[int],
    max_batch: int,
    gpu_percent: int | None = None,
    batch: int | None = None,
) -> Configuration:
    """The lane and batch of the highest efficacy with f <= SLO/2 and f + gather time <= SLO.

    `gpu_percent` and `batch`, where given, are fixed by the user and not chosen.
    Ties go to the smaller batch, then to the smaller GPU%. Raises InfeasibleError, with the numbers.
    """
    candidates = [
        _configuration(surface, percent, size, slo_ms, rate_rps)
        for size in ([batch] if batch else range(1, max_batch + 1))
        for percent in ([gpu_percent] if gpu_percent else sorted(lanes))
    ]
    feasible = [candidate for candidate in candidates if _meets(candidate, slo_ms, rate_rps)]
    if not feasible:
        raise InfeasibleError(_why_infeasible(candidates, slo_ms, rate_rps))
    return max(feasible, key=lambda candidate: candidate.efficacy)


def efficient_configuration(
    surface: LatencySurface, *, slo_ms: float, rate_rps: float | None
) -> Configuration:
    """The same over all of the surface's GPU%s and batches.

    Raises InfeasibleError, with the numbers.
    """
    return choose_configuration(
        surface,
        slo_ms=slo_ms,
        rate_rps=rate_rps,
        lanes=surface.gpu_percents,
        max_batch=surface.batches[-1],
    )


def cheapest_configuration(surface: LatencySurface, *, slo_ms: float, rate_rps: float) -> Configuration:
    """The run of the least GPU area per item with f + gather time <= SLO, on any of the surface's GPU%s.

    What is best for a set of models: the fluid bound's own choice (`core/planning/fluid.py`), where the rate
    is enough to fill its batch. The paper's efficacy looks at one model and pays with area for latency that
    the SLO does not ask for. Raises InfeasibleError, with the numbers.
    """
    candidates = [
        _configuration(surface, percent, size, slo_ms, rate_rps)
        for size in range(1, surface.batches[-1] + 1)
        for percent in surface.gpu_percents
    ]
    feasible = [
        candidate
        for candidate in candidates
        if candidate.latency_ms + gather_ms(candidate.batch, rate_rps) <= slo_ms
    ]
    if not feasible:
        fastest = min(candidate.latency_ms for candidate in candidates)
        raise InfeasibleError(f"the fastest run takes {fastest:.3g} ms; the SLO is {slo_ms:g} ms")
    return min(feasible, key=lambda candidate: candidate.gpu_percent * candidate.latency_ms / candidate.batch)


def _configuration(
    surface: LatencySurface, gpu_percent: int, batch: int, slo_ms: float, rate_rps: float | None
) -> Configuration:
    latency_ms = surface.latency_ms(gpu_percent, batch)
    period_ms = batch * _MS_PER_S / rate_rps if rate_rps else slo_ms
    area_permille = round(1000 * latency_ms / period_ms * gpu_percent / WHOLE_GPU_PERCENT)
    return Configuration(
        gpu_percent, batch, latency_ms, efficacy(gpu_percent, batch, latency_ms), area_permille
    )


def _meets(candidate: Configuration, slo_ms: float, rate_rps: float | None) -> bool:
    waited_ms = gather_ms(candidate.batch, rate_rps)
    return candidate.latency_ms <= slo_ms / 2 and candidate.latency_ms + waited_ms <= slo_ms


def _why_infeasible(candidates: Sequence[Configuration], slo_ms: float, rate_rps: float | None) -> str:
    # Where more of a GPU does not help, the whole of it is what says that nothing does.
    fastest = min(candidates, key=lambda candidate: (candidate.latency_ms, -candidate.gpu_percent))
    run = f"batch {fastest.batch} at {fastest.gpu_percent} GPU% takes {fastest.latency_ms:.3g} ms"
    if fastest.latency_ms > slo_ms / 2:
        return f"even {run}; the SLO of {slo_ms:g} ms allows {slo_ms / 2:g} ms a batch"
    waited_ms = gather_ms(fastest.batch, rate_rps)
    return f"{run} after {waited_ms:.3g} ms to gather it; the SLO is {slo_ms:g} ms: use a smaller batch"
