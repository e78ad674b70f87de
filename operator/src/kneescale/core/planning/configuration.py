"""The choice of GPU% and batch: D-STACK's efficacy, maximised under the SLO (arXiv 2304.13541)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kneescale.core.errors import InfeasibleError
from kneescale.core.surfaces.knee import efficacy
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import MS_PER_S, PERMILLE, WHOLE_GPU_PERCENT


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
    return (batch - 1) * MS_PER_S / rate_rps if rate_rps else 0.0


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
    batches = [batch] if batch else range(1, max_batch + 1)
    candidates = _runs(surface, [gpu_percent] if gpu_percent else sorted(lanes), batches)
    feasible = [candidate for candidate in candidates if _meets(candidate, slo_ms, rate_rps)]
    if not feasible:
        raise InfeasibleError(_why_infeasible(candidates, slo_ms, rate_rps))
    return _configuration(max(feasible, key=lambda run: efficacy(*run)), slo_ms, rate_rps)


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
    candidates = _runs(surface, surface.gpu_percents, range(1, surface.batches[-1] + 1))
    feasible = [
        candidate
        for candidate in candidates
        if candidate.latency_ms + gather_ms(candidate.batch, rate_rps) <= slo_ms
    ]
    if not feasible:
        fastest = min(candidate.latency_ms for candidate in candidates)
        raise InfeasibleError(f"the fastest run takes {fastest:.3g} ms; the SLO is {slo_ms:g} ms")
    cheapest = min(feasible, key=lambda run: run.gpu_percent * run.latency_ms / run.batch)
    return _configuration(cheapest, slo_ms, rate_rps)


class _Run(NamedTuple):
    """A candidate; there are many."""

    gpu_percent: int
    batch: int
    latency_ms: float


def _runs(surface: LatencySurface, gpu_percents: Sequence[int], batches: Sequence[int]) -> list[_Run]:
    return [
        _Run(percent, batch, surface.latency_ms(percent, batch))
        for batch in batches
        for percent in gpu_percents
    ]


def _configuration(run: _Run, slo_ms: float, rate_rps: float | None) -> Configuration:
    period_ms = run.batch * MS_PER_S / rate_rps if rate_rps else slo_ms
    area_permille = round(PERMILLE * run.latency_ms / period_ms * run.gpu_percent / WHOLE_GPU_PERCENT)
    return Configuration(*run, efficacy(*run), area_permille)


def _meets(candidate: _Run, slo_ms: float, rate_rps: float | None) -> bool:
    waited_ms = gather_ms(candidate.batch, rate_rps)
    return candidate.latency_ms <= slo_ms / 2 and candidate.latency_ms + waited_ms <= slo_ms


def _why_infeasible(candidates: Sequence[_Run], slo_ms: float, rate_rps: float | None) -> str:
    # Where more of a GPU does not help, the whole of it is what says that nothing does.
    fastest = min(candidates, key=lambda candidate: (candidate.latency_ms, -candidate.gpu_percent))
    run = f"batch {fastest.batch} at {fastest.gpu_percent} GPU% takes {fastest.latency_ms:.3g} ms"
    if fastest.latency_ms > slo_ms / 2:
        return f"even {run}; the SLO of {slo_ms:g} ms allows {slo_ms / 2:g} ms a batch"
    waited_ms = gather_ms(fastest.batch, rate_rps)
    return f"{run} after {waited_ms:.3g} ms to gather it; the SLO is {slo_ms:g} ms: use a smaller batch"
