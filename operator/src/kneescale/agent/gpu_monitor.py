"""The thread that keeps asking the GPU driver: which GPUs there are, and what ails them."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Event

from kneescale.agent.gpu_health import GPU_LOST, sickness_of_faults, sickness_of_xid
from kneescale.agent.gpu_library import GpuLibrary, GpuReading, Inventory, LibraryError, Version, XidEvent
from kneescale.core.units import NS_PER_S

log = logging.getLogger(__name__)

#: How long one wait for an Xid error takes, and so how fast `run` ends.
_WAIT_MS = 1000
#: Faults that come without an Xid error are seen after this long.
_LOOK_NS = 5 * NS_PER_S
_STUCK_NS = 60 * NS_PER_S
#: A driver that cannot be asked is asked again after this long, and sooner by an agent that just began.
_RETRY_S = 5.0
_FIRST_RETRY_S = 1.0
#: One answer that fails tells nothing of the GPUs; a driver that answers none for so long has none, and a GPU
#: that only errors tell of for so long is lost.
_PATIENCE_NS = 15 * NS_PER_S
#: A session does not see GPUs that came later, so now and then there is a new one.
_SESSION_NS = 300 * NS_PER_S


_UNKNOWN = Version(0)


@dataclass(frozen=True, slots=True)
class MonitoredGpu:
    """A GPU as it was last read, at `read_ns`; `sickness` is empty while it may be used."""

    reading: GpuReading
    sickness: str
    read_ns: int


@dataclass(frozen=True, slots=True)
class GpuState:
    """What the last look found; `error` says why nothing could be looked at.

    With an error, `gpus` are those of before, until there has been one for a while. `nameless_lost` counts
    GPUs that the driver lists and cannot reach, and that were not read before: which they are is not known.
    """

    driver: Version = _UNKNOWN
    cuda: Version = _UNKNOWN
    gpus: tuple[MonitoredGpu, ...] = ()
    error: LibraryError | None = None
    nameless_lost: int = 0


class GpuMonitor:
    """`state` is for any thread; the library is for the one that calls `look` or `run` alone.

    Until `knows_gpus` the state withdraws nothing: no look is over yet, or one failed that may not do so
    again.

    A GPU that reported a bad Xid error stays sick until the agent restarts or the GPU goes away: the driver
    does not say when it is well again.
    """

    def __init__(self, library: GpuLibrary, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._library = library
        self._now_ns = now_ns
        self._opened_ns: int | None = None
        self._began_ns = self._looked_ns = self._answered_ns = now_ns()
        #: Sickness by uuid, from Xid errors.
        self._marks: dict[str, str] = {}
        self.state = GpuState()
        self.knows_gpus = False

    @property
    def is_stuck(self) -> bool:
        """Whether the driver has kept a call for so long that `state` is old."""
        return self._now_ns() - self._looked_ns > _STUCK_NS

    def run(self, stop: Event, after_step: Callable[[], None]) -> None:
        """Look and wait for errors until `stop`; about once a second `after_step` may use `state`."""
        while not stop.is_set():
            self.step()
            after_step()
            if self._opened_ns is None:
                stop.wait(_RETRY_S if self.knows_gpus else _FIRST_RETRY_S)
        self._close()

    def step(self) -> None:
        """Look where it is time to, then wait a while for an Xid error and look again if one came."""
        try:
            if self._is_due():
                self.look()
            event = self._library.wait_for_xid(_WAIT_MS) if self._opened_ns is not None else None
            if event is not None:
                self._take(event)
        except LibraryError as error:
            # As when a GPU is lost; the next session shows which.
            log.warning("the GPU driver reports no errors any more: %s", error)
            self._close()

    def look(self) -> None:
        """Read all GPUs into `state`, through a new session where there is none or the one there is fails."""
        all_answered = False
        try:
            inventory = self._inventory()
            self._set(self._judged(inventory))
            self._answered_ns = self._now_ns()
            all_answered = not inventory.failed
        except LibraryError as error:
            self._close()
            self._set(self._unanswered(error))
        if not self.state.gpus:
            self._close()  # only a new session would see any
        now_ns = self._now_ns()
        self.knows_gpus |= all_answered or now_ns - self._began_ns >= _PATIENCE_NS
        self._looked_ns = now_ns

    def _inventory(self) -> Inventory:
        """All GPUs, through a new session where the one there is fails."""
        if self._opened_ns is not None:
            try:
                return self._read()
            except LibraryError:
                self._close()
        return self._read()

    def _read(self) -> Inventory:
        now_ns = self._now_ns()
        if self._opened_ns is None or now_ns - self._opened_ns >= _SESSION_NS:
            self._close()
            self._library.open()
            self._opened_ns = now_ns
        return self._library.inventory()

    def _is_due(self) -> bool:
        is_new = self._opened_ns is None or not self.knows_gpus
        return is_new or self._now_ns() - self._looked_ns >= _LOOK_NS

    def _take(self, event: XidEvent) -> None:
        """Mark the GPU that reported an error, and look at all again."""
        capability = next(
            (gpu.reading.compute_capability for gpu in self.state.gpus if gpu.reading.uuid == event.uuid),
            _UNKNOWN,
        )
        sickness = sickness_of_xid(event.xid, capability)
        log.warning(
            "GPU %s reported Xid %d: %s",
            event.uuid or "unknown",
            event.xid,
            sickness or "it goes on",
            extra={"device": event.uuid},
        )
        if sickness and event.uuid:
            self._marks.setdefault(event.uuid, sickness)
        self.look()

    def _judged(self, inventory: Inventory) -> GpuState:
        present = {gpu.uuid for gpu in inventory.gpus}
        now_ns = self._now_ns()
        gpus = [MonitoredGpu(gpu, self._sickness(gpu), now_ns) for gpu in inventory.gpus]
        if not inventory.lost and not inventory.failed:
            self._marks = {uuid: mark for uuid, mark in self._marks.items() if uuid in present}
            return GpuState(inventory.driver, inventory.cuda, tuple(gpus))
        missed = [gpu for gpu in self.state.gpus if gpu.reading.uuid not in present]
        # Which of them is lost, the driver does not say; where none is, the next answer may be a good one.
        unread = [replace(gpu, sickness=self._sickness_unread(gpu, inventory)) for gpu in missed]
        return GpuState(
            inventory.driver,
            inventory.cuda,
            (*gpus, *unread),
            # Fewer may be unread than are missed: some may be gone altogether.
            nameless_lost=max(0, inventory.lost + inventory.failed - len(unread)),
        )

    def _sickness_unread(self, gpu: MonitoredGpu, inventory: Inventory) -> str:
        """What ails a GPU that the last look did not reach."""
        is_waited_for = not inventory.lost and self._now_ns() - gpu.read_ns < _PATIENCE_NS
        if gpu.sickness == GPU_LOST or not is_waited_for:
            return GPU_LOST
        return self._sickness(gpu.reading)

    def _unanswered(self, error: LibraryError) -> GpuState:
        if self._now_ns() - self._answered_ns < _PATIENCE_NS:
            return replace(self.state, error=error)
        return GpuState(error=error)

    def _sickness(self, gpu: GpuReading) -> str:
        return self._marks.get(gpu.uuid) or sickness_of_faults(gpu.faults, gpu.compute_capability)

    def _set(self, state: GpuState) -> None:
        if _summary(state) != _summary(self.state):
            log.info("GPUs: %s", _summary(state))
        self.state = state

    def _close(self) -> None:
        self._library.close()
        self._opened_ns = None


def _summary(state: GpuState) -> str:
    if state.error is not None:
        return str(state.error)
    return ", ".join(f"{gpu.reading.uuid} {gpu.sickness or 'healthy'}" for gpu in state.gpus) or "none"
