"""What was granted on one device: the last grants, totals, and a check that GPU% never passed 100.

The check adds up what went out to workers and came back; it asks the dispatcher nothing.
"""

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from threading import Lock
from typing import Final, NamedTuple

from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.core.wire import Grant

#: About 20 MB a device.
_CAPACITY: Final = 200_000


@dataclass(frozen=True, slots=True)
class GrantRecord:
    """One grant that ended: its GPU% was held from `granted_ns` on, its batch ran from `started_ns`.

    `heard_ns` is when the agent had read of the end.
    """

    partition: str
    model: str
    gpu_percent: int
    batch: int
    granted_ns: int
    started_ns: int
    ended_ns: int
    heard_ns: int


@dataclass(frozen=True, slots=True)
class Tenant:
    """A partition, and the model that it is for."""

    partition: str
    namespace: str
    model: str


@dataclass(slots=True)
class Totals:
    """Counts of one partition's ended grants and refused items since the agent started.

    Areas are GPU% times nanoseconds: `area_ns` while it was held, `used_area_ns` while the batches ran.
    """

    tenant: Tenant
    grants: int = 0
    items: int = 0
    area_ns: int = 0
    used_area_ns: int = 0
    refused_items: int = 0


class _Open(NamedTuple):
    tenant: Tenant
    gpu_percent: int
    batch: int
    granted_ns: int


class Trace:
    """The grants of one device. Written by its dispatcher's thread, read by any."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._lock = Lock()
        # Plain tuples: the garbage collector stops looking at them, so a full ring costs grants no pauses.
        self._ended: deque[tuple[str, str, int, int, int, int, int, int]] = deque(maxlen=capacity)
        self._open: dict[int, _Open] = {}
        self._running_percent = 0
        self._overcommitted = 0
        self._ended_area_ns = 0
        self._totals: dict[str, Totals] = {}

    def granted(self, tenant: Tenant, grant: Grant, granted_ns: int) -> None:
        """A grant goes out."""
        with self._lock:
            self._open[grant.grant_id] = _Open(tenant, grant.gpu_percent, grant.batch, granted_ns)
            self._running_percent += grant.gpu_percent
            if self._running_percent > WHOLE_GPU_PERCENT:
                self._overcommitted += 1

    def ended(self, grant_id: int, started_ns: int, ended_ns: int, heard_ns: int) -> None:
        """A grant that went out came back, or its worker is gone."""
        with self._lock:
            gone_out = self._open.pop(grant_id)
            self._running_percent -= gone_out.gpu_percent
            self._ended.append(
                (
                    gone_out.tenant.partition,
                    gone_out.tenant.model,
                    gone_out.gpu_percent,
                    gone_out.batch,
                    gone_out.granted_ns,
                    started_ns,
                    ended_ns,
                    heard_ns,
                )
            )
            area_ns = gone_out.gpu_percent * (ended_ns - gone_out.granted_ns)
            self._ended_area_ns += area_ns
            totals = self._totals_of(gone_out.tenant)
            totals.grants += 1
            totals.items += gone_out.batch
            totals.area_ns += area_ns
            totals.used_area_ns += gone_out.gpu_percent * (ended_ns - started_ns)

    def refused(self, tenant: Tenant, items: int) -> None:
        """Items of a partition are refused."""
        with self._lock:
            self._totals_of(tenant).refused_items += items

    def keep_totals_of(self, partitions: Collection[str]) -> None:
        """Drop the totals of all other partitions."""
        with self._lock:
            self._totals = {name: totals for name, totals in self._totals.items() if name in partitions}

    @property
    def overcommitted(self) -> int:
        """Instants at which the GPU% of the grants that were out passed 100."""
        return self._overcommitted

    @property
    def running_percent(self) -> int:
        """The GPU% that is out now."""
        return self._running_percent

    def totals(self) -> dict[str, Totals]:
        """Totals by partition."""
        with self._lock:
            return {name: replace(totals) for name, totals in self._totals.items()}

    def since(self, start_ns: int) -> Iterator[GrantRecord]:
        """The grants that ended at `start_ns` or later and are still kept, in the order they came back."""
        with self._lock:
            rows = list(self._ended)
        for row in rows:
            # A row ends with when its batch ended and when that was heard; not unpacked, there are many.
            if row[-2] >= start_ns:
                yield GrantRecord(*row)

    def area_ns(self, now_ns: int) -> int:
        """GPU area granted since the agent started, grants that are out included: GPU% times nanoseconds."""
        with self._lock:
            running = sum(grant.gpu_percent * (now_ns - grant.granted_ns) for grant in self._open.values())
            return self._ended_area_ns + running

    def _totals_of(self, tenant: Tenant) -> Totals:
        totals = self._totals.get(tenant.partition)
        if totals is None:
            totals = self._totals[tenant.partition] = Totals(tenant)
        return totals
