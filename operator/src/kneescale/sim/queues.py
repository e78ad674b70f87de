"""The requests of each model on one GPU: first come, first out."""

from bisect import bisect_left
from collections.abc import Sequence

from kneescale.sim.tenant import Tenant


class Queues:
    """Requests by the number of their model. `arrivals_ns[model]` are in order, and may grow at their end.

    Requests leave in the order in which they came, so two indices into the arrivals are a queue.
    """

    def __init__(self, tenants: tuple[Tenant, ...], arrivals_ns: Sequence[Sequence[int]]) -> None:
        self._slos_ns = [tenant.slo_ns for tenant in tenants]
        self._arrivals_ns = arrivals_ns
        self._heads = [0] * len(tenants)
        self._tails = [0] * len(tenants)

    def __len__(self) -> int:
        """How many models there are."""
        return len(self._heads)

    def length(self, model: int) -> int:
        """How many requests wait."""
        return self._tails[model] - self._heads[model]

    def oldest_ns(self, model: int) -> int:
        """When the oldest waiting request arrived; there is one."""
        return self._arrivals_ns[model][self._heads[model]]

    def deadline_ns(self, model: int) -> int:
        """When the SLO of the oldest waiting request ends; there is one."""
        return self.oldest_ns(model) + self._slos_ns[model]

    def count_before(self, model: int, arrived_ns: int) -> int:
        """How many waiting requests arrived before that."""
        head = self._heads[model]
        return bisect_left(self._arrivals_ns[model], arrived_ns, head, self._tails[model]) - head

    def push(self, model: int) -> int:
        """The next request of the model has arrived; when that was."""
        self._tails[model] += 1
        return self._arrivals_ns[model][self._tails[model] - 1]

    def pop(self, model: int, count: int) -> int:
        """The oldest `count` requests leave; the number of the first of them among all of the model."""
        head = self._heads[model]
        self._heads[model] = head + count
        assert head + count <= self._tails[model], "a scheduler took requests that are not there"
        return head
