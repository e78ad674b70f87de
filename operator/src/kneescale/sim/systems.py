"""The systems that can be compared, by name, each with the parameters to choose from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

from kneescale.core.dispatching.spatio_temporal import Settings
from kneescale.sim.baselines.clipper import Clipper
from kneescale.sim.baselines.clockwork import Clockwork
from kneescale.sim.baselines.fixed_batch_mps import FixedBatchMps
from kneescale.sim.baselines.gpulet import Gpulet
from kneescale.sim.baselines.gslice import Gslice
from kneescale.sim.baselines.ideal import ideal
from kneescale.sim.baselines.max_min import MaxMin
from kneescale.sim.baselines.max_throughput import MaxThroughput
from kneescale.sim.baselines.nexus import Nexus
from kneescale.sim.baselines.static_partitions import StaticPartitions
from kneescale.sim.baselines.temporal import Temporal
from kneescale.sim.baselines.triton import Triton
from kneescale.sim.dispatched import dispatched, dispatched_in_turns
from kneescale.sim.engine import System, scheduled
from kneescale.sim.scheduler import Scheduler
from kneescale.sim.tenant import Tenant
from kneescale.sim.trial import Trial, capacity


@dataclass(frozen=True, slots=True)
class Variant:
    """A system with its parameters fixed; `parameters` says which, for people."""

    parameters: str
    system: System


@dataclass(frozen=True, slots=True)
class Best:
    """The capacity of a system with the parameters that suit the tenants best."""

    load: float
    variant: Variant


def best_of(
    variants: tuple[Variant, ...], tenants: tuple[Tenant, ...], trial: Trial, attainment: float = 0.99
) -> Best:
    """The variant with the largest capacity; of equals the first.

    Only what is above the best so far is searched: one that is no better costs runs that end early. But all
    of that: a system that plans by the rates may carry much more and not a little more.
    """
    best = Best(0.0, variants[0])
    for variant in variants:
        load = capacity(tenants, variant.system, trial, attainment, above=best.load)
        if load > best.load:
            best = Best(load, variant)
    return best


def _variants(make: Callable[..., Scheduler], **choices: tuple[object, ...]) -> tuple[Variant, ...]:
    """A variant for each combination of the parameters' choices."""
    combinations = (dict(zip(choices, values, strict=True)) for values in product(*choices.values()))
    return tuple(_variant(make, parameters) for parameters in combinations)


def _alone(make: Callable[..., Scheduler], **parameters: object) -> tuple[Variant]:
    """The one variant of a system that its name says all about."""
    return (Variant("", scheduled(partial(make, **parameters))),)


def _variant(make: Callable[..., Scheduler], parameters: Mapping[str, object]) -> Variant:
    shown = ", ".join(f"{name} {value}" for name, value in parameters.items())
    return Variant(shown, scheduled(partial(make, **parameters)))


#: `static-partitions` and the two `-free` ones were never published: they show how far fixed GPU%s can go,
#: and what a simple order makes of the product's lanes.
SYSTEMS: Mapping[str, tuple[Variant, ...]] = {
    "dstack": _alone(dispatched),
    "dstack-3-lanes": _alone(dispatched, lanes=3),
    "dstack-2-lanes": _alone(dispatched, lanes=2),
    "dstack-1-lane": _alone(dispatched, lanes=1),
    "dstack-no-refusal": _alone(dispatched, refuses=False),
    "dstack-no-fill": _alone(dispatched, settings=Settings(fill=False)),
    "dstack-no-fairness": _alone(dispatched, settings=Settings(fairness=False)),
    "dstack-fixed-batch": _alone(dispatched, settings=Settings(free_batch=False)),
    "dstack-paper": _alone(dispatched, lanes="paper", settings=Settings(free_batch=False)),
    "temporal": (*_variants(Temporal), Variant("Kneescale's own", scheduled(dispatched_in_turns))),
    "fixed-batch-mps": _variants(FixedBatchMps, budget=(0.5, 0.25), delay=(0.5, 0.25)),
    "gslice": _variants(Gslice, budget=(0.5, 0.35, 0.7), headroom=(0, 1, 2, 4)),
    "static-partitions": _variants(
        StaticPartitions, most_instances=(1, 2, 4, 8), budget=(0.5, 0.35), headroom=(0, 1, 2)
    ),
    "triton": _variants(Triton, instances=(1, 2, 3, 4, 5), budget=(0.5, 0.25), delay=(0, 0.1, 0.25, 0.5)),
    "clipper": _variants(Clipper, objective=(1, 0.5, 0.25)),
    "nexus": _variants(Nexus, headroom=(1, 1.5, 2, 4)),
    "gpulet": _variants(Gpulet, partitions=((100,), (50, 50), (40, 60), (20, 80)), headroom=(1, 1.5, 2, 4)),
    "clockwork": _variants(Clockwork),
    "max-throughput": _variants(MaxThroughput, knee=(1.1, 1.25, 1.5, 2)),
    "max-throughput-free": _variants(MaxThroughput, knee=(None,)),
    "max-min": _variants(MaxMin, knee=(1.1, 1.25, 1.5, 2)),
    "max-min-free": _variants(MaxMin, knee=(None,)),
    "ideal": (Variant("", ideal),),
}
