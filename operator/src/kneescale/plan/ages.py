"""For how long what other clocks wrote has stood, by the operator's own monotonic clock.

The wall clock of a node may be hours off, and step; so may the operator's. What was written with such a clock
counts from when it was seen to change. After a start all is as if it were written just now.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from kneescale.plan.state import Observed

#: A time as it was written.
_Written = str | datetime | None


class Ages:
    """Remembers which time each object told last, and since when."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[_Written, float]] = {}

    def add_to(self, observed: Observed, now_s: float) -> Observed:
        """The same cluster with its ages; `now_s` is of a clock that never steps."""
        self._seen = {uid: self._since(uid, written, now_s) for uid, written in _times(observed)}
        ages = {uid: timedelta(seconds=now_s - since_s) for uid, (_, since_s) in self._seen.items()}
        return replace(observed, ages=ages)

    def _since(self, uid: str, written: _Written, now_s: float) -> tuple[_Written, float]:
        before = self._seen.get(uid)
        return before if before and before[0] == written else (written, now_s)


def _times(observed: Observed) -> Iterator[tuple[str, _Written]]:
    """By uid: when an agent wrote, when a pod got ready, when a node no longer was."""
    yield from ((each.metadata.uid, each.status.measured_at) for each in observed.schedules)
    yield from ((pod.metadata.uid, pod.ready_since) for pod in observed.pods)
    yield from ((node.metadata.uid, node.not_ready_since) for node in observed.nodes.values())
