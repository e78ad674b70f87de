"""The systems that can be compared, by name, each with the parameters to choose from."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product, starmap
from operator import ne
from typing import Any, TypeVar

from kneescale.core.dispatching.spatio_temporal import WHOLE, Settings
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
from kneescale.sim.baselines.triton import ModelConfig, Triton, of_each
from kneescale.sim.engine import System, scheduled
from kneescale.sim.product import EFFICACY, FREE, KNEE, dispatched, dispatched_in_turns
from kneescale.sim.scheduler import Scheduler
from kneescale.sim.tenant import Tenant
from kneescale.sim.trial import Trial, capacity

T = TypeVar("T")

#: D-STACK's own lanes: one for each model, the better of EFFICACY and KNEE.
PAPER = "paper"

#: What each leaves out of the product's dispatcher.
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "dstack-no-refusal": {"refuses": False},
    "dstack-no-fill": {"settings": Settings(fill=False)},
    "dstack-no-fairness": {"settings": Settings(fairness=False)},
    "dstack-fixed-batch": {"settings": Settings(free_batch=False)},
}

#: A third round over all models found hardly any more.
_MOST_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Variant:
    """A system with its parameters fixed; `parameters` says which, for people.

    Where models have parameters of their own, `of_one` gives the variants in which the model with that number
    among so many has others.
    """

    parameters: str
    system: System
    of_one: Callable[[int, int], Iterable["Variant"]] | None = None


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
    of that: a system that plans by the rates may carry much more and not a little more. Where models have
    parameters of their own each variant is a start to climb from: how high that leads it does not tell.
    """
    best = Best(0.0, variants[0])
    for variant in variants:
        above = 0.0 if variant.of_one else best.load
        load = capacity(tenants, variant.system, trial, attainment, above=above)
        found = _climbed(Best(load, variant), tenants, trial, attainment)
        if found.load > best.load:
            best = found
    return best


def _climbed(best: Best, tenants: tuple[Tenant, ...], trial: Trial, attainment: float) -> Best:
    """Other parameters for one model after the other, as long as that carries more."""
    for _ in range(_MOST_ROUNDS):
        before = best.load
        for number in range(len(tenants)):
            for variant in best.variant.of_one(number, len(tenants)) if best.variant.of_one else ():
                load = capacity(tenants, variant.system, trial, attainment, above=best.load, near=best.load)
                if load > best.load:
                    best = Best(load, variant)
        if best.load == before:
            break
    return best


def _variants(make: Callable[..., Scheduler], **choices: tuple[object, ...]) -> tuple[Variant, ...]:
    """A variant for each combination of the parameters' choices."""
    combinations = (dict(zip(choices, values, strict=True)) for values in product(*choices.values()))
    return tuple(_variant(make, parameters) for parameters in combinations)


def _variant(make: Callable[..., Scheduler], parameters: Mapping[str, object]) -> Variant:
    shown = ", ".join(f"{name} {value}" for name, value in parameters.items())
    return Variant(shown, scheduled(partial(make, **parameters)))


def product_variants(lanes: int | str, **without: Any) -> tuple[Variant, ...]:  # noqa: ANN401
    """The product's dispatcher, whole or without a part of ABLATIONS.

    Its lanes are FREE, so many, or as PAPER has them.
    """
    if lanes == PAPER:
        return _variants(partial(_as_published, **without), lane_by=(EFFICACY, KNEE))
    return _variants(partial(dispatched, lanes=lanes, **without))


def _as_published(
    tenants: tuple[Tenant, ...], *, lane_by: str, settings: Settings = WHOLE, refuses: bool = True
) -> Scheduler:
    """D-STACK's own lane and batch for each model, neither of which changes."""
    fixed = settings._replace(free_batch=False)
    return dispatched(tenants, lanes=lane_by, settings=fixed, refuses=refuses)


#: What may stand in a model's configuration, and what searches for those of each model start from: no single
#: start leads to the best of every mix. One instance is what Triton gives a model that says nothing.
_INSTANCES = (1, 2, 3, 4, 5, 8)
_TRITON_CONFIGS = tuple(starmap(ModelConfig, product(_INSTANCES, (0.5, 0.25), (0, 0.1, 0.25, 0.5))))
_TRITON_STARTS = (
    ModelConfig(1, 0.5, 0.25),
    ModelConfig(3, 0.5, 0),
    ModelConfig(5, 0.5, 0.25),
    ModelConfig(8, 0.5, 0.5),
)


def _tritons(instances: Collection[int]) -> Iterator[Variant]:
    """With one configuration for all models to start from, and as many instances as any of these."""
    choices = [config for config in _TRITON_CONFIGS if config.instances in instances]
    return (_triton((config,), choices) for config in _TRITON_STARTS if config in choices)


def _triton(configs: tuple[ModelConfig, ...], choices: Sequence[ModelConfig]) -> Variant:
    """With one configuration for all models, or one for each; others for one are among the `choices`."""
    columns = zip(ModelConfig._fields, zip(*configs, strict=True), strict=True)
    shown = [f"{name} {'/'.join(map(str, _one_if_equal(values)))}" for name, values in columns]
    of_one = partial(_tritons_of_one, configs, choices)
    return Variant(", ".join(shown), scheduled(partial(Triton, configs=configs)), of_one)


def _tritons_of_one(
    configs: tuple[ModelConfig, ...], choices: Sequence[ModelConfig], number: int, models: int
) -> Iterator[Variant]:
    """Those in which one figure of one model's configuration is another."""
    before = of_each(configs, models)
    for other in choices:
        if sum(map(ne, other, before[number])) == 1:
            yield _triton((*before[:number], other, *before[number + 1 :]), choices)


def _one_if_equal(values: tuple[T, ...]) -> tuple[T, ...]:
    return values[:1] if len(set(values)) == 1 else values


#: `static-partitions` and the two `-free` ones were never published: they show how far fixed GPU%s can go,
#: and what a simple order makes of the product's lanes.
SYSTEMS: Mapping[str, tuple[Variant, ...]] = {
    "dstack": product_variants(FREE),
    "dstack-4-lanes": product_variants(4),
    "dstack-3-lanes": product_variants(3),
    "dstack-2-lanes": product_variants(2),
    "dstack-1-lane": product_variants(1),
    **{name: product_variants(FREE, **without) for name, without in ABLATIONS.items()},
    "dstack-paper": product_variants(PAPER),
    "temporal": (*_variants(Temporal), Variant("Kneescale's own", scheduled(dispatched_in_turns))),
    "fixed-batch-mps": _variants(FixedBatchMps, budget=(0.5, 0.25), delay=(0.5, 0.25)),
    "gslice": _variants(Gslice, budget=(0.5, 0.35, 0.7), headroom=(0, 1, 2, 4)),
    "static-partitions": _variants(
        StaticPartitions, most_instances=(1, 2, 4, 8), budget=(0.5, 0.35), headroom=(0, 1, 2)
    ),
    "triton": tuple(_tritons(_INSTANCES)),
    "triton-1-instance": tuple(_tritons((1,))),
    "clipper": _variants(Clipper, in_turns=(True, False), objective=(1, 0.5, 0.25)),
    "nexus": _variants(Nexus, headroom=(1, 1.5, 2, 4)),
    "gpulet": _variants(Gpulet, partitions=((100,), (50, 50), (40, 60), (20, 80)), headroom=(1, 1.5, 2, 4)),
    "clockwork": _variants(Clockwork),
    "max-throughput": _variants(MaxThroughput, knee=(1.1, 1.25, 1.5, 2)),
    "max-throughput-free": _variants(MaxThroughput, knee=(None,)),
    "max-min": _variants(MaxMin, knee=(1.1, 1.25, 1.5, 2)),
    "max-min-free": _variants(MaxMin, knee=(None,)),
    "ideal": (Variant("", ideal),),
}
