"""Kubernetes' HorizontalPodAutoscaler with its defaults.

By https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ ("Algorithm details", "Default
behavior"): replicas in proportion to the mean of a metric over its target; nothing within a tenth of it;
every 15 s; up by at most four pods or to twice as many in 15 s; down to the most that was wanted in five
minutes. Pods that are not ready yet count as idle where it would scale up.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import ceil

from kneescale.sim.autoscaling.autoscaler import Workers
from kneescale.sim.autoscaling.fleet import Plan, Second, Worker
from kneescale.sim.autoscaling.scene import Scene
from kneescale.sim.baselines.autoscalers.slots import Replica, Slots

_TOLERANCE = 0.1
_MOST_PODS_UP, _MOST_FACTOR_UP = 4, 2
_DOWN_STABILISATION_S = 300
#: The metrics server takes a sample about that often.
_METRIC_S = 15

#: What a replica of a kind did in a second, as a part of what it could.
Metric = Callable[[Second, Replica], float]


def busy(second: Second, replica: Replica) -> float:
    """The part of the time that the replica was busy.

    That stands for CPU utilisation: a worker's CPU use goes with the batches that it runs.
    """
    return second.busy


def request_rate(second: Second, replica: Replica) -> float:
    """Requests per second, as a part of what the replica can answer."""
    return second.requests / replica.capacity_rps


class Hpa:
    """One HorizontalPodAutoscaler for each model, with the same target for all."""

    period_s = 15
    start_s = None

    def __init__(self, scene: Scene, *, metric: Metric, target: float) -> None:
        self._slots = Slots(scene)
        self._metric = metric
        self._target = target
        self._wanted: dict[str, deque[tuple[int, int]]] = {name: deque() for name in self._slots.replicas}

    def first(self) -> Plan:
        """Enough replicas for the first rate."""
        return self._slots.first()

    def next(self, workers: Workers, now_s: int) -> Plan:
        """The replicas of each model."""
        return self._slots.plan(
            {
                name: self._stabilised(name, self._desired(workers[name], replica, now_s), now_s)
                for name, replica in self._slots.replicas.items()
            }
        )

    def _desired(self, workers: Sequence[Worker], replica: Replica, now_s: int) -> int:
        values = [
            self._mean(worker, replica) for worker in workers if worker.is_ready(now_s) and worker.seconds
        ]
        if not values:
            return len(workers)
        ratio = sum(values) / (len(values) * self._target)
        if ratio > 1:
            ratio_with_idle = sum(values) / (len(workers) * self._target)
            return _scaled(len(workers), max(1.0, ratio_with_idle))
        return _scaled(len(values), ratio) if len(values) == len(workers) else len(workers)

    def _mean(self, worker: Worker, replica: Replica) -> float:
        of_late = list(worker.seconds)[-_METRIC_S:]
        return sum(self._metric(second, replica) for second in of_late) / len(of_late)

    def _stabilised(self, name: str, desired: int, now_s: int) -> int:
        wanted = self._wanted[name]
        wanted.append((now_s, desired))
        while wanted[0][0] <= now_s - _DOWN_STABILISATION_S:
            wanted.popleft()
        return max(1, *(number for _, number in wanted))


def _scaled(current: int, ratio: float) -> int:
    if abs(ratio - 1) <= _TOLERANCE:
        return current
    most = max(current + _MOST_PODS_UP, _MOST_FACTOR_UP * current)
    return min(ceil(current * ratio), most)
