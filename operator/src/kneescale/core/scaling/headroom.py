"""The queueing behaviour of a model on a shared GPU: how much of it a rate needs for its SLO to hold.

Work arrives at a GPU with a mean and a variance; what waits longer than its slack is late. In heavy traffic
the backlog of work is exponential, P(backlog > t) = exp(-2 (1 - rho) t / variance rate), and each model adds
a rho and a variance of its own (Kelly, "Notes on effective bandwidths", 1996, section 2). So a GPU keeps all
SLOs while the sum over its models of rho (1 + k) is at most 1, with

    k = dispersion * area of an item * ln(1 / misses) / (2 * slack)

and each model can be provided for by itself, whatever it shares its GPU with.
"""

from math import log

from kneescale.core.planning.configuration import Configuration, cheapest_configuration
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import MS_PER_S, PERMILLE, WHOLE_GPU_PERCENT


def needed_permille(
    run: Configuration, *, rate_ips: float, dispersion: float, slo_ms: float, percentile: int
) -> float:
    """The part of a GPU, in permille, that lets `percentile` % of `rate_ips` items a second be in time.

    `run` is what batches are made like: the cheapest that keeps the SLO, which is what the dispatcher makes
    of a busy queue.
    """
    area_per_item_ms = run.gpu_percent / WHOLE_GPU_PERCENT * run.latency_ms / run.batch
    # A run that starts within the slack ends in time. A run of the whole SLO would leave none: it is shorter
    # where requests wait, at some more area.
    slack_ms = max(slo_ms - run.latency_ms, slo_ms / 2)
    k = dispersion * area_per_item_ms * log(1 / (1 - percentile / 100)) / (2 * slack_ms)
    return PERMILLE * rate_ips * area_per_item_ms / MS_PER_S * (1 + k)


def burst_factor(
    surface: LatencySurface,
    planned: Configuration,
    *,
    rate_ips: float,
    dispersion: float,
    slo_ms: float,
    percentile: int,
    area_limit_permille: int,
) -> float:
    """By what to multiply the rate to plan for, so that a GPU filled to its limit keeps the SLO; at least 1.

    `planned` is the plan of the rate itself, and what the limit leaves free of a GPU is room for bursts too.
    Raises InfeasibleError where no run of the surface keeps the SLO.
    """
    run = cheapest_configuration(surface, slo_ms=slo_ms, rate_rps=rate_ips)
    needed = needed_permille(
        run, rate_ips=rate_ips, dispersion=dispersion, slo_ms=slo_ms, percentile=percentile
    )
    return max(1.0, needed * area_limit_permille / PERMILLE / max(1, planned.area_permille))
