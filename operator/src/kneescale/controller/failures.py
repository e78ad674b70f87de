"""What could not be written to the cluster, and when to try again."""

import math
from dataclasses import dataclass

from kneescale.controller.difference import Item
from kneescale.controller.observe import Key
from kneescale.core.backoff import Backoff

BACKOFF = Backoff(first_s=1, longest_s=30)


@dataclass(frozen=True, slots=True)
class _Failure:
    models: frozenset[Key]
    message: str
    #: In a row.
    count: int
    retry_at_s: float


class Failures:
    """A backoff for each item on its own, and the last error of each model. Times are monotonic."""

    def __init__(self) -> None:
        self._failures: dict[Item, _Failure] = {}

    def may_try(self, item: Item, now_s: float) -> bool:
        """Whether the item has not failed, or long enough ago."""
        failure = self._failures.get(item)
        return failure is None or failure.retry_at_s <= now_s

    def has(self, item: Item) -> bool:
        """Whether the item failed and is still to be written."""
        return item in self._failures

    def failed(self, item: Item, models: frozenset[Key], message: str, now_s: float) -> float:
        """Note a failure; return the delay in seconds before the next try."""
        previous = self._failures.get(item)
        count = previous.count + 1 if previous else 1
        delay_s = BACKOFF.wait_s(count)
        self._failures[item] = _Failure(models, message, count, now_s + delay_s)
        return delay_s

    def succeeded(self, item: Item) -> None:
        """Forget the item's failures."""
        self._failures.pop(item, None)

    def keep_only(self, wanted: set[Item]) -> None:
        """Forget the failures of items that nobody wants to write any more."""
        self._failures = {item: failure for item, failure in self._failures.items() if item in wanted}

    @property
    def any(self) -> bool:
        """Whether something failed and is still to be written."""
        return bool(self._failures)

    def next_try_s(self) -> float:
        """Return when the first of the failed items may be tried again; infinity if nothing failed."""
        return min((failure.retry_at_s for failure in self._failures.values()), default=math.inf)

    def by_model(self) -> dict[Key, str]:
        """Return one error message for each model that something failed for."""
        return {model: failure.message for failure in self._failures.values() for model in failure.models}
