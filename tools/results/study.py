"""What is computed for docs/results.md: every figure, by the name of its job."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import mean

from kneescale.core.planning.lane_bound import lane_bound
from kneescale.sim.mixes import tenants_of
from kneescale.sim.outcome import Outcome, outcome_of
from kneescale.sim.scenario import Poisson, Uniform
from kneescale.sim.systems import SYSTEMS, best_of
from kneescale.sim.tenant import workloads_of
from kneescale.sim.trial import Trial, capacity
from tools.results.mixes import Models

#: What the product's dispatcher carries with free lanes is tried with all of these seeds; it under other
#: conditions, and all other systems, with the first three; what it carries without one of its parts with the
#: first alone.
SEEDS = (1, 2, 3, 4, 5, 6)
FEWER_SEEDS = SEEDS[:3]
POOLS = ("dstack-4-lanes", "dstack-3-lanes")
OURS = ("dstack", *POOLS)
#: The policy without one of its parts or most of its lanes, and as published, to see what those are worth: on
#: measured surfaces alone, with the first seed.
FIRST_SEED_ALONE = tuple(name for name in SYSTEMS if name.startswith("dstack-") and name not in OURS)
ATTAINMENT = 0.99
#: Capacities are found to this part of the bound; parameters are compared by hundredths.
RESOLUTION = 0.0025
LEAST_DURATION_S = 10.0
#: A run lasts until the rarest model had about this many requests that count: of fewer, one in a hundred is
#: missed by chance too often, and the worst of many models looks worse than it is.
LEAST_REQUESTS = 1000
WARMUP_S = 2.0
OVERLOAD = 1.5
NOISE = 0.1

POISSON = Trial(Poisson(), LEAST_DURATION_S, WARMUP_S)
UNIFORM = replace(POISSON, arrivals=Uniform())
NOISY = replace(POISSON, noise=NOISE)


@dataclass(frozen=True, slots=True)
class Capacity:
    """The load that a system carries with each seed, as a fraction of the fluid bound.

    `parameters` are those that suit the mix best with the first seed.
    """

    fractions: tuple[float, ...]
    parameters: str

    @property
    def fraction(self) -> float:
        """The mean over the seeds."""
        return mean(self.fractions)


Job = Callable[[], Capacity | Outcome]


def jobs(
    measured: Mapping[str, Models], unseen: Mapping[str, Models], fresh: Mapping[str, Models]
) -> dict[str, Job]:
    """Everything, by a name of the form study/mix/system."""
    found: dict[str, Job] = {}
    for name, models in {**measured, **unseen}.items():
        for system in SYSTEMS:
            if name in unseen and system in FIRST_SEED_ALONE:
                continue
            found[f"capacity/{name}/{system}"] = partial(
                _capacity, models, system, POISSON, _seeds_of(system)
            )
        found[f"bound/{name}/dstack-3-lanes"] = partial(_lane_bound, models, 3)
    for name, models in measured.items():
        found |= _further(name, models)
    for name, models in fresh.items():
        found[f"capacity/{name}/dstack"] = partial(_capacity, models, "dstack", POISSON, FEWER_SEEDS)
    return found


def _seeds_of(system: str) -> Sequence[int]:
    if system == "dstack":
        return SEEDS
    return SEEDS[:1] if system in FIRST_SEED_ALONE else FEWER_SEEDS


def _further(name: str, models: Models) -> dict[str, Job]:
    found: dict[str, Job] = {
        f"uniform/{name}/dstack": partial(_capacity, models, "dstack", UNIFORM, FEWER_SEEDS),
        f"noise/{name}/dstack": partial(_capacity, models, "dstack", NOISY, FEWER_SEEDS),
    }
    for system in ("dstack", "dstack-no-fairness", "dstack-no-refusal"):
        found[f"overload/{name}/{system}"] = partial(_overload, models, system)
    return found


def duration_s(models: Models) -> float:
    """How long a capacity run of the mix lasts."""
    rarest_rps = min(model.rate_rps for model in models)
    return max(LEAST_DURATION_S, WARMUP_S + LEAST_REQUESTS / rarest_rps)


def _capacity(models: Models, system: str, trial: Trial, seeds: Sequence[int]) -> Capacity:
    """The first seed's search says which parameters to use, and about where to look."""
    tenants = tenants_of(models)
    trials = [replace(trial, duration_s=duration_s(models), seed=(seed,)) for seed in seeds]
    best = best_of(SYSTEMS[system], tenants, trials[0], ATTAINMENT)
    search = partial(capacity, tenants, best.variant.system, attainment=ATTAINMENT, resolution=RESOLUTION)
    first = search(trials[0], above=best.load, near=best.load)
    others = [search(other, near=first) for other in trials[1:]]
    return Capacity((first, *others), best.variant.parameters)


def _lane_bound(models: Models, lanes: int) -> Capacity:
    """What any schedule can carry on so many lanes for each model."""
    workloads = workloads_of(tenants_of(models), product="")
    return Capacity((lane_bound(workloads, "", lanes),), parameters="")


def _overload(models: Models, system: str) -> Outcome:
    trial = replace(POISSON, duration_s=duration_s(models))
    record = trial.run(tenants_of(models), SYSTEMS[system][0].system, load=OVERLOAD)
    return outcome_of([record])
