"""Max-min fairness: the model that has had least of the GPU goes first."""

from collections.abc import Sequence

from kneescale.sim.baselines.greedy import Greedy, Option
from kneescale.sim.tenant import Tenant


class MaxMin(Greedy):
    """Takes the model with the least GPU area for its weight so far.

    Max-min fairness raises the smallest share while that is possible (Bertsekas and Gallager, "Data
    Networks", section 6.5.2); a baseline of D-STACK (arXiv 2304.13541). A model that has nothing to run
    gains no credit: it returns at the level of the poorest one that had (as start-time fair queueing
    does; Goyal, SIGCOMM 1996).
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, knee: float | None) -> None:
        super().__init__(tenants, knee=knee)
        self._had = [0.0] * len(tenants)
        self._poorest = 0.0

    def choose(self, found: Sequence[tuple[int, Option]]) -> tuple[int, Option]:
        """The run of the poorest model."""
        for model, _ in found:
            self._had[model] = max(self._had[model], self._poorest)
        model, option = min(found, key=lambda run: self._had[run[0]])
        self._poorest = self._had[model]
        self._had[model] += option.area / self.tenants[model].weight
        return model, option
