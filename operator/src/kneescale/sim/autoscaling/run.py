"""One autoscaler on one scene, second by second."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.sim.autoscaling.autoscaler import Autoscaler
from kneescale.sim.autoscaling.fleet import Fleet, Plan
from kneescale.sim.autoscaling.scene import Scene


@dataclass(frozen=True, slots=True)
class Requests:
    """All of one model's, by the time at which they came; those that nobody answered waited for ever."""

    arrived_s: NDArray[np.float64]
    waits_ms: NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """What happened: all but the requests by second, and all but the use of the GPUs by model.

    `provided` is what was provided for (Wanted says in what), `reserved_gpus` how much of GPUs the plan had,
    `used_gpus` how much of them was granted.
    """

    requests: Sequence[Requests]
    replicas: NDArray[np.int64]
    provided: NDArray[np.float64]
    reserved_gpus: NDArray[np.float64]
    used_gpus: NDArray[np.float64]


def run_autoscaler(autoscaler: Autoscaler, scene: Scene) -> Course:
    """Let it scale the scene's models from start to end.

    Raises InfeasibleError where a model fits nowhere at its first rate.
    """
    fleet = Fleet(scene)
    start_s = scene.start_s if autoscaler.start_s is None else autoscaler.start_s
    plan = autoscaler.first()
    fleet.apply(plan, 0, 0)
    plans, replicas, areas = list[Plan](), list[list[int]](), [0]
    for now_s in range(scene.duration_s):
        if now_s and now_s % autoscaler.period_s == 0:
            plan = autoscaler.next(fleet.workers, now_s)
        fleet.apply(plan, now_s, start_s)
        fleet.serve(now_s)
        plans.append(plan)
        replicas.append([_ready(fleet, model.name, now_s) for model in scene.models])
        areas.append(sum(sum(gpu.journal.area) for gpu in fleet.gpus))
    fleet.finish()
    wanted = [[plan[model.name] for plan in plans] for model in scene.models]
    return Course(
        requests=[_requests(fleet, number) for number in range(len(scene.models))],
        replicas=np.array(replicas).T,
        provided=np.array([[each.provided for each in of_one] for of_one in wanted]),
        reserved_gpus=np.array([[each.gpus for each in of_one] for of_one in wanted]),
        used_gpus=np.diff(areas) / (WHOLE_GPU_PERCENT * NS_PER_S),
    )


def _ready(fleet: Fleet, model: str, now_s: int) -> int:
    return sum(worker.is_ready(now_s) for worker in fleet.workers[model])


def _requests(fleet: Fleet, number: int) -> Requests:
    journals = [gpu.journal for gpu in fleet.gpus]
    lost = np.concatenate([np.array([], dtype=np.int64), *fleet.lost[number]])
    arrived_ns = np.concatenate([lost, *(journal.arrived_ns(number) for journal in journals)])
    waits_ms = np.concatenate(
        [np.full(len(lost), np.inf), *(journal.waits_ms(number) for journal in journals)]
    )
    order = np.argsort(arrived_ns, kind="stable")
    return Requests(arrived_ns[order] / NS_PER_S, waits_ms[order])
