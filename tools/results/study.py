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
OURS = ("dstack", "dstack-3-lanes", "dstack-1-lane")
ATTAINMENT = 0.99
DURATION_S = 12.0
WARMUP_S = 2.0
OVERLOAD = 1.5
NOISE = 0.1

POISSON = Trial(Poisson(), DURATION_S, WARMUP_S)


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
            for seed in SEEDS if system in OURS else SEEDS[:1]:
                trial = replace(POISSON, seed=(seed,))
                found[f"capacity/{name}/{system}/{seed}"] = partial(_capacity, models, system, trial)
    for name, models in measured.items():
        found |= _further(name, models)
    return found


def _further(name: str, models: Models) -> dict[str, Job]:
    uniform = replace(POISSON, arrivals=Uniform())
    noisy = replace(POISSON, noise=NOISE)
    return {
        f"uniform/{name}/dstack/1": partial(_capacity, models, "dstack", uniform),
        f"noise/{name}/dstack/1": partial(_capacity, models, "dstack", noisy),
        f"overload/{name}/dstack/1": partial(_overload, models, "dstack"),
        f"overload/{name}/dstack-no-fairness/1": partial(_overload, models, "dstack-no-fairness"),
        f"overload/{name}/dstack-no-refusal/1": partial(_overload, models, "dstack-no-refusal"),
    }


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
