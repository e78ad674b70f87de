"""Knative's autoscaler on concurrency (KPA) with its defaults.

By https://knative.dev/docs/serving/autoscaling/kpa-specific/ and its source (knative/serving,
pkg/autoscaler/scaling/autoscaler.go): as many pods as the requests in flight over 60 s take at the target
each; where those over 6 s would take twice the ready pods or more, it panics: then those count, and nothing
is scaled down until it has not been so for 60 s. Up to a thousand times, down to half the ready pods at once.
"""

from collections.abc import Sequence
from math import ceil, floor

from kneescale.sim.autoscaling.autoscaler import Workers
from kneescale.sim.autoscaling.fleet import Plan, Worker
from kneescale.sim.autoscaling.scene import Scene
from kneescale.sim.baselines.autoscalers.slots import Slots

_STABLE_S, _PANIC_S = 60, 6
_PANIC_THRESHOLD = 2.0
_MOST_FACTOR_UP, _MOST_FACTOR_DOWN = 1000, 2
#: The default of container-concurrency-target-percentage.
_UTILISATION = 0.7


class Knative:
    """`target` is the concurrency of a replica that is full, in planned batches."""

    period_s = 2
    start_s = None

    def __init__(self, scene: Scene, *, target: float) -> None:
        self._slots = Slots(scene)
        self._target = target
        #: Since when each model panics, and with how many pods at most so far.
        self._panics: dict[str, tuple[int, int]] = {}
        #: The requests in flight, second by second, whichever workers there were.
        self._in_flight: dict[str, list[float]] = {name: [] for name in self._slots.replicas}

    def first(self) -> Plan:
        """Enough replicas for the first rate."""
        return self._slots.first()

    def next(self, workers: Workers, now_s: int) -> Plan:
        """The replicas of each model."""
        return self._slots.plan(
            {name: self._desired(name, workers[name], now_s) for name in self._slots.replicas}
        )

    def _desired(self, name: str, workers: Sequence[Worker], now_s: int) -> int:
        ready = [worker for worker in workers if worker.is_ready(now_s)]
        self._observe(name, ready)
        pods = max(1, len(ready))
        target = _UTILISATION * self._target * self._slots.replicas[name].run.batch
        stable = ceil(_mean(self._in_flight[name][-_STABLE_S:]) / target)
        panic = ceil(_mean(self._in_flight[name][-_PANIC_S:]) / target)
        is_panic = panic / pods >= _PANIC_THRESHOLD
        stable = _within_reach(stable, pods)
        in_panic = max(stable, _within_reach(panic, pods))
        return max(1, self._panicking(name, is_panic, in_panic, now_s) or stable)

    def _observe(self, name: str, ready: Sequence[Worker]) -> None:
        for ago in range(self.period_s, 0, -1):
            seen = [worker.seconds[-ago].in_flight for worker in ready if len(worker.seconds) >= ago]
            self._in_flight[name].append(sum(seen))

    def _panicking(self, name: str, is_panic: bool, desired: int, now_s: int) -> int | None:
        """The most pods that were desired in a panic that goes on; None where there is none."""
        since_s, most = self._panics.get(name, (now_s, 0))
        if is_panic:
            since_s = now_s
        elif name not in self._panics or since_s + _STABLE_S < now_s:
            self._panics.pop(name, None)
            return None
        self._panics[name] = since_s, max(most, desired)
        return max(most, desired)


def _within_reach(number: int, pods: int) -> int:
    return min(max(number, floor(pods / _MOST_FACTOR_DOWN)), _MOST_FACTOR_UP * pods)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
