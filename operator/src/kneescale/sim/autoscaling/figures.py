"""What an autoscaler is judged by, and how it went over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor

import numpy as np
from numpy.typing import NDArray

from kneescale.sim.autoscaling.run import Course, Requests
from kneescale.sim.autoscaling.scene import Scene

#: So long after a step an autoscaler may still be catching up.
CATCHING_UP_S = 15.0
#: Percentiles over time are of so many seconds each.
BUCKET_S = 10
_MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One model's requests after the warm-up: the parts that were answered within the SLO.

    `after_step` is that of those which came within 15 s of a step up, `otherwise` that of all others; None
    where there were none.
    """

    sent: int
    attainment: float | None
    after_step: float | None
    otherwise: float | None


@dataclass(frozen=True)
class Figures:
    """One autoscaler on one scene; `over_time` has what the pictures show.

    GPUs are means over the run after the warm-up. `turns` is the most changes of direction, within any
    minute, of what one model was provided for.
    """

    models: dict[str, ModelFigures]
    reserved_gpus: float
    used_gpus: float
    turns: int
    over_time: "OverTime"

    @property
    def attainment(self) -> float:
        """The worst model's."""
        return _least([model.attainment for model in self.models.values()])

    @property
    def after_step(self) -> float | None:
        """The worst model's within 15 s of a step; None where there was no step."""
        parts = [model.after_step for model in self.models.values() if model.after_step is not None]
        return min(parts, default=None)

    @property
    def otherwise(self) -> float:
        """The worst model's apart from that."""
        return _least([model.otherwise for model in self.models.values()])


@dataclass(frozen=True)
class OverTime:
    """Second by second: the replicas that serve, and the GPUs that are reserved and used.

    `p99_of_slo` is, for every ten seconds, the worst model's p99 over its SLO; infinite where more than one
    in a hundred was not answered.
    """

    replicas: Sequence[int]
    reserved_gpus: Sequence[float]
    used_gpus: Sequence[float]
    p99_of_slo: Sequence[float]


def figures_of(course: Course, scene: Scene) -> Figures:
    """Judge it."""
    # Of a second that the warm-up ends in, what was provided counts: without it there might be none.
    first = floor(scene.warmup_s)
    return Figures(
        models={
            model.name: _model(requests, model.slo_ms, scene)
            for model, requests in zip(scene.models, course.requests, strict=True)
        },
        reserved_gpus=float(course.reserved_gpus[:, first:].sum(axis=0).mean()),
        used_gpus=float(course.used_gpus[first:].mean()),
        turns=max(most_turns(provided.tolist()) for provided in course.provided[:, first:]),
        over_time=OverTime(
            replicas=course.replicas.sum(axis=0).tolist(),
            reserved_gpus=course.reserved_gpus.sum(axis=0).tolist(),
            used_gpus=course.used_gpus.tolist(),
            p99_of_slo=_p99_of_slo(course, scene),
        ),
    )


def most_turns(values: Sequence[float]) -> int:
    """The most changes of direction within any 60 of the values."""
    changes = [(at, after - before) for at, (before, after) in enumerate(pairwise(values))]
    moves = [(at, change > 0) for at, change in changes if change]
    turns = [at for (_, before), (at, after) in pairwise(moves) if before != after]
    return max((sum(at <= other < at + _MINUTE_S for other in turns) for at in turns), default=0)


def _model(requests: Requests, slo_ms: float, scene: Scene) -> ModelFigures:
    counts = requests.arrived_s >= scene.warmup_s
    catching_up = np.zeros(len(counts), dtype=bool)
    for surge_s in scene.surges_s:
        catching_up |= (surge_s <= requests.arrived_s) & (requests.arrived_s < surge_s + CATCHING_UP_S)
    in_time = requests.waits_ms <= slo_ms
    return ModelFigures(
        sent=int(counts.sum()),
        attainment=_part(in_time[counts]),
        after_step=_part(in_time[counts & catching_up]),
        otherwise=_part(in_time[counts & ~catching_up]),
    )


def _p99_of_slo(course: Course, scene: Scene) -> Sequence[float]:
    ratios = [
        _percentiles(requests, scene.duration_s) / model.slo_ms
        for model, requests in zip(scene.models, course.requests, strict=True)
    ]
    worst: list[float] = np.max(ratios, axis=0).tolist()
    return worst


def _percentiles(requests: Requests, duration_s: int) -> NDArray[np.float64]:
    edges = np.searchsorted(requests.arrived_s, np.arange(0, duration_s + BUCKET_S, BUCKET_S))
    return np.array(
        [
            np.percentile(requests.waits_ms[first:last], 99, method="higher") if last > first else 0.0
            for first, last in pairwise(edges)
        ]
    )


def _part(in_time: NDArray[np.bool_]) -> float | None:
    return float(in_time.mean()) if in_time.size else None


def _least(parts: Sequence[float | None]) -> float:
    """The smallest; 1 where there was no request at all."""
    return min((part for part in parts if part is not None), default=1.0)
