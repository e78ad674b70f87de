"""The reconcile loop: observe, plan, apply, whenever the world may have changed."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic

from kneescale.controller import events
from kneescale.controller.api_server import ApiServer
from kneescale.controller.apply import Applier
from kneescale.controller.difference import Item, Verb, Write, difference
from kneescale.controller.failures import BACKOFF, Failures
from kneescale.controller.gates import Gates
from kneescale.controller.listing import list_all
from kneescale.controller.metrics import Metrics, Result
from kneescale.controller.observe import World, find_worker, models_that_may_sleep, observe
from kneescale.controller.resources import INFERENCE_MODEL
from kneescale.core.errors import KneescaleError
from kneescale.plan.ages import Ages
from kneescale.plan.state import Desired, ObjectRef, Observed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the loop turns."""

    #: Changes come in bursts (a pod's start is five of them): one plan for all.
    debounce_s: float = 0.15
    #: How long news may wait that come all the time: measurements, signs of life.
    restless_s: float = 2.0
    #: How often everything is listed anew.
    resync_s: float = 60.0


class Loop:
    """Keeps the cluster as the plan wants it; `address` is where the cluster reaches this process."""

    def __init__(
        self,
        api: ApiServer,
        world: World,
        plan: Callable[[Observed], Desired],
        address: str,
        metrics: Metrics,
        pace: Pace = Pace(),
    ) -> None:
        self._api = api
        self._world = world
        self._gates = Gates(address, partial(find_worker, world), self.wake)
        self._plan = plan
        self._pace = pace
        self._metrics = metrics
        self._failures = Failures()
        self._ages = Ages()
        #: What was told of objects that cannot be read.
        self._unreadable: frozenset[str] = frozenset()
        self._applier = Applier(api, world, self._failures, self._metrics)
        self._woken = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        self._broken_by = ""
        #: Cycles that broke in a row.
        self._breaks = 0
        #: When the last cycle ended, in monotonic seconds: the sign of life.
        self.last_cycle_s = monotonic()

    def wake(self) -> None:
        """Say that the world may have changed."""
        self._woken.set()

    def wake_soon(self) -> None:
        """Say that something changed that always does: one cycle every few seconds is enough for it."""
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(self._pace.restless_s, self._woken.set)

    async def run(self) -> None:
        """Reconcile for ever: at once, at each wake, and whenever something falls due."""
        resync_at_s = monotonic() + self._pace.resync_s
        while True:
            replan_at_s = await self._reconcile_or_rest()
            self.last_cycle_s = monotonic()
            await self._sleep_until(min(resync_at_s, replan_at_s))
            if monotonic() >= resync_at_s:
                await self._resync()
                resync_at_s = monotonic() + self._pace.resync_s

    async def _reconcile_or_rest(self) -> float:
        """One cycle; an error that nobody foresaw breaks off that one alone, and no gate closes for it."""
        try:
            due_s = await self.reconcile()
        except Exception as error:  # noqa: BLE001  (it is logged and counted, and all else goes on)
            await self._rest(repr(error))
            return monotonic()
        self._broken_by, self._breaks = "", 0
        return due_s

    async def _rest(self, error: str) -> None:
        """Longer each time, whatever wakes; the traceback is told once."""
        self._metrics.reconciled(Result.BROKEN)
        self._breaks += 1
        rest_s = BACKOFF.wait_s(self._breaks)
        logger.error(
            "no plan, all stays as it is: %s; next try in %.0f s",
            error,
            rest_s,
            exc_info=error != self._broken_by,
        )
        await asyncio.sleep(rest_s)
        self._broken_by = error

    async def reconcile(self) -> float:
        """Bring the cluster a step closer to the plan; return when the next one is due without a wake."""
        self._calm_down()
        gates = await self._gates.keep(models_that_may_sleep(self._world))
        seen = observe(self._world, self._failures.by_model(), gates, datetime.now(UTC))
        observed = self._ages.add_to(seen, monotonic())
        self._tell_unreadable(observed)

        desired = await self._timed_plan(observed)

        writes = tuple(difference(desired, self._world))
        await self._applier.apply(writes)
        await self._announce(desired)
        await self._gates.look()
        self._metrics.reconciled(self._result(writes))
        return self._next_due_s(desired)

    def _tell_unreadable(self, observed: Observed) -> None:
        """Each fault once; one of an InferenceModel is in its status."""
        faults = {
            f"{each.ref.kind} {each.ref.name} is left out of all plans: {each.message}"
            for each in observed.rejected
            if each.ref.kind != INFERENCE_MODEL.name
        }
        for fault in sorted(faults - self._unreadable):
            logger.warning("%s", fault)
        self._unreadable = frozenset(faults)

    async def _timed_plan(self, observed: Observed) -> Desired:
        began_s = monotonic()
        # To choose pools of lanes takes a second for each GPU. Watches and gates go on meanwhile, and what
        # they tell is for the next plan.
        desired = await asyncio.to_thread(self._plan, observed)
        self._metrics.planned(observed, desired, monotonic() - began_s)
        return desired

    def _result(self, writes: Sequence[Write]) -> Result:
        if self._failures.any:
            return Result.FAILED
        return Result.APPLIED if writes else Result.UNCHANGED

    async def _announce(self, desired: Desired) -> None:
        # A decision that was not written down is not announced: the next plan comes to it again.
        notes = [note for note in desired.events if not self._failures.has(_status_of(note.regarding))]
        for note in notes:
            self._metrics.announced(note)
        await events.post(self._api, notes)

    def _next_due_s(self, desired: Desired) -> float:
        retry_at_s = self._failures.next_try_s()
        if desired.requeue_after_s is None:
            return retry_at_s
        return min(retry_at_s, monotonic() + desired.requeue_after_s)

    async def _sleep_until(self, due_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(due_s - monotonic()):
                await self._woken.wait()
        await asyncio.sleep(self._pace.debounce_s)

    def _calm_down(self) -> None:
        self._woken.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def _resync(self) -> None:
        try:
            await list_all(self._api, self._world)
        except KneescaleError as error:
            logger.warning("going on with what the watches tell: %s", error)


def _status_of(ref: ObjectRef) -> Item:
    return Item(Verb.APPLY_STATUS, ref.kind, ref.namespace, ref.name)
