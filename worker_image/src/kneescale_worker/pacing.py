"""How a worker goes on without its agent: by itself, within its last share of the device's time."""

import asyncio
import time
from collections.abc import Sequence

from kneescale.core.units import NS_PER_S, PERMILLE, ceil_div
from kneescale.core.wire import Terms
from kneescale_worker.batches import BatchRunner
from kneescale_worker.grants import GrantClient
from kneescale_worker.queue import ItemQueue, Slice

#: Before the agent said anything: single items, a tenth of the time.
_FIRST_BATCH = 1
_FIRST_SHARE_PERMILLE = 100
_FIRST_SLO_NS = 10 * NS_PER_S
_PATIENCE_PART_OF_SLO = 4
#: So far ahead of its share a worker may run where requests wait: about as long as an agent is away.
LONGEST_LEAD_NS = 4 * NS_PER_S


class Lead:
    """How far a worker has run ahead of its share, which it catches up with as time goes by."""

    def __init__(self) -> None:
        self._lane_ns = 0
        self._at_ns = 0

    def ran(self, busy_ns: int, share_permille: int, now_ns: int) -> None:
        """A lane was busy for so long, until now."""
        caught_up_ns = (now_ns - self._at_ns) * share_permille // PERMILLE
        self._lane_ns = max(0, self._lane_ns + busy_ns - caught_up_ns)
        self._at_ns = now_ns

    def is_too_long(self, share_permille: int) -> bool:
        """Whether it has to pause, whoever waits."""
        return self._lane_ns * PERMILLE >= LONGEST_LEAD_NS * share_permille


class SelfPacer:
    """Runs batches while the worker is alone: on as many lanes as its share fills, each idle in between."""

    def __init__(self, client: GrantClient, queue: ItemQueue, runner: BatchRunner, first_lane: int) -> None:
        self._client = client
        self._queue = queue
        self._runner = runner
        self._first_terms = Terms(
            slo_ns=_FIRST_SLO_NS,
            batch=_FIRST_BATCH,
            gpu_percent=first_lane,
            share_permille=_FIRST_SHARE_PERMILLE,
        )
        self._lead = Lead()
        #: The lanes that run a batch, or are idle after one.
        self._busy: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Pace the worker whenever it is alone, for ever."""
        async with asyncio.TaskGroup() as lanes:
            while True:
                await self._client.alone.wait()
                await self._queue.has_items.wait()
                terms = self._client.terms or self._first_terms
                if len(self._busy) >= lanes_at_once(terms.share_permille):
                    await asyncio.wait(self._busy, return_when=asyncio.FIRST_COMPLETED)
                elif self._client.alone.is_set():
                    lane = lanes.create_task(self._run(terms, self._queue.take(terms.batch)))
                    self._busy.add(lane)
                    lane.add_done_callback(self._busy.discard)

    async def _run(self, terms: Terms, slices: Sequence[Slice]) -> None:
        run = await self._runner.run(terms.gpu_percent, slices)
        await asyncio.sleep(self._pause_ns(run.ended_ns - run.started_ns, terms) / NS_PER_S)

    def _pause_ns(self, busy_ns: int, terms: Terms) -> int:
        """By the share, but while the worker is not far ahead of that nobody waits for a pause for long."""
        now_ns = time.monotonic_ns()
        self._lead.ran(busy_ns, terms.share_permille, now_ns)
        by_share_ns, oldest_ns = pause_ns(busy_ns, terms), self._queue.oldest_arrived_ns
        if oldest_ns is None or self._lead.is_too_long(terms.share_permille):
            return by_share_ns
        return min(by_share_ns, patience_ns(oldest_ns, terms.slo_ns, now_ns))


def lanes_at_once(share_permille: int) -> int:
    """On how many lanes at once a share of the time is spent, of which each has at most all of it."""
    return max(1, ceil_div(share_permille, PERMILLE))


def pause_ns(busy_ns: int, terms: Terms) -> int:
    """How long a lane pauses after a batch: by its part of the share, but at most a quarter of the SLO.

    After a batch that was held up, a pause by the share alone would make all that waits late.
    """
    share_permille = terms.share_permille // lanes_at_once(terms.share_permille)
    return min(idle_ns(busy_ns, share_permille), terms.slo_ns // _PATIENCE_PART_OF_SLO)


def patience_ns(oldest_arrived_ns: int, slo_ns: int, now_ns: int) -> int:
    """How long until the oldest request has waited for a quarter of its SLO."""
    return max(0, oldest_arrived_ns + slo_ns // _PATIENCE_PART_OF_SLO - now_ns)


def idle_ns(busy_ns: int, share_permille: int) -> int:
    """How long to stay idle after `busy_ns` so that the busy share of the time is `share_permille`.

    A share of nothing counts as one permille: slow, but nothing waits for ever.
    """
    share = min(PERMILLE, max(1, share_permille))
    return busy_ns * (PERMILLE - share) // share
