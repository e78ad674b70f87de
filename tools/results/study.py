"""What is computed for docs/results.md: every figure, by the name of its job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from kneescale.sim.outcome import Outcome, outcome_of
from kneescale.sim.scenario import Poisson, Uniform
from kneescale.sim.systems import SYSTEMS, best_of
from kneescale.sim.tenant import Tenant
from kneescale.sim.trial import Trial
from tools.results.mixes import Models

#: The product's own systems are tried with all of these seeds, the others with the first.
SEEDS = (1, 2, 3)
OURS = ("dstack", "dstack-3-lanes")
#: What is left out of the policy, to see what it is worth, is left out on measured surfaces alone.
ABLATIONS = tuple(name for name in SYSTEMS if name.startswith("dstack-") and name not in OURS)
ATTAINMENT = 0.99
LEAST_DURATION_S = 10.0
#: A run lasts until the rarest model had about this many requests that count.
LEAST_REQUESTS = 300
WARMUP_S = 2.0
OVERLOAD = 1.5
NOISE = 0.1

POISSON = Trial(Poisson(), LEAST_DURATION_S, WARMUP_S)


@dataclass(frozen=True, slots=True)
class Capacity:
    """The load that a system carries, as a fraction of the fluid bound, and the parameters it has then."""

    fraction: float
    parameters: str


Job = Callable[[], Capacity | Outcome]


def jobs(measured: Mapping[str, Models], unseen: Mapping[str, Models]) -> dict[str, Job]:
    """Everything, by a name of the form study/mix/system/seed, the slowest first."""
    found: dict[str, Job] = {}
    for name, models in {**measured, **unseen}.items():
        for system in SYSTEMS:
            if name in unseen and system in ABLATIONS:
                continue
            for seed in SEEDS if system in OURS else SEEDS[:1]:
                trial = replace(POISSON, duration_s=duration_s(models), seed=(seed,))
                found[f"capacity/{name}/{system}/{seed}"] = partial(_capacity, models, system, trial)
    for name, models in measured.items():
        found |= _further(name, models)
    return found


def _further(name: str, models: Models) -> dict[str, Job]:
    found: dict[str, Job] = {}
    for seed in SEEDS:
        poisson = replace(POISSON, duration_s=duration_s(models), seed=(seed,))
        uniform, noisy = replace(poisson, arrivals=Uniform()), replace(poisson, noise=NOISE)
        found[f"uniform/{name}/dstack/{seed}"] = partial(_capacity, models, "dstack", uniform)
        found[f"noise/{name}/dstack/{seed}"] = partial(_capacity, models, "dstack", noisy)
    for system in ("dstack", "dstack-no-fairness", "dstack-no-refusal"):
        found[f"overload/{name}/{system}/1"] = partial(_overload, models, system)
    return found


def duration_s(models: Models) -> float:
    """How long a capacity run of the mix lasts."""
    rarest_rps = min(model.rate_rps for model in models)
    return max(LEAST_DURATION_S, WARMUP_S + LEAST_REQUESTS / rarest_rps)


def tenants_of(models: Models) -> tuple[Tenant, ...]:
    """The models of a mix, all on one GPU."""
    return tuple(
        Tenant(model.name, model.slo_ms, model.rate_rps, model.surface, model.weight) for model in models
    )


def _capacity(models: Models, system: str, trial: Trial) -> Capacity:
    best = best_of(SYSTEMS[system], tenants_of(models), trial, ATTAINMENT)
    return Capacity(best.load, best.variant.parameters)


def _overload(models: Models, system: str) -> Outcome:
    record = POISSON.run(tenants_of(models), SYSTEMS[system][0].system, load=OVERLOAD)
    return outcome_of([record])
