"""What the simulator asks of an autoscaler, whether the product's own or a baseline."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from kneescale.sim.autoscaling.fleet import Plan, Worker

#: The workers of each model, those that start and those that are to go included.
Workers = Mapping[str, Sequence[Worker]]


class Autoscaler(Protocol):
    """Measurements in, a plan out. It has no clock and no randomness."""

    @property
    def period_s(self) -> int:
        """How often it is asked."""

    @property
    def start_s(self) -> float | None:
        """How long its workers take to start; None for as long as the scene's do."""

    def first(self) -> Plan:
        """What serves from the start on: enough for the first rate, which everyone knows."""

    def next(self, workers: Workers, now_s: int) -> Plan:
        """What is to serve from now on."""
