"""Lanes whose SMs no other model has: sharing in space alone.

Nothing is gained there by running less often, so each model gets the smallest lane that carries its rate,
bursts included (`lanes`), and a GPU holds no more models than those lanes have room on it together.
"""

from collections.abc import Callable, Iterable, Sequence

from kneescale.core.planning.fluid import Workload
from kneescale.core.planning.lane_queueing import ModelOnLanes
from kneescale.core.planning.lanes import bisected, models_on_lanes, suffice


def reserved_lane(workload: Workload, product: str, lanes: Sequence[int]) -> int:
    """The smallest of the lanes (GPU%, rising) that carries the workload; the largest where none does.

    Raises InfeasibleError where no run ends in time on the whole GPU.
    """
    (model,) = models_on_lanes([workload], product)
    return _least(model, lanes, load=1.0)


def reserved_lanes(
    workloads: Sequence[Workload],
    product: str,
    lanes: Sequence[int],
    fit: Callable[[Iterable[int]], bool],
) -> dict[str, int]:
    """A lane for each workload, by name, such that all of them `fit`, if any do.

    Where those that carry the whole rates do not, they are for as large a part of the rates as there is room
    for, the same of all. Raises InfeasibleError as `reserved_lane`.
    """
    models = models_on_lanes(workloads, product)

    def lanes_at(load: float) -> dict[str, int]:
        return {model.name: _least(model, lanes, load) for model in models}

    whole = lanes_at(1.0)
    if fit(whole.values()):
        return whole
    _, found = bisected(1.0, lanes_at, lambda some, _: fit(some.values()))
    return found


def _least(model: ModelOnLanes, lanes: Sequence[int], load: float) -> int:
    return next((percent for percent in lanes if suffice([model], [(percent,)], load)), lanes[-1])
