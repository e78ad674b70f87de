"""What the program of the MPS control daemons tells of each, and what that means for its GPU (ADR 22)."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kneescale.core.errors import InvalidInputError
from kneescale.core.units import NS_PER_S
from kneescale.mps.status import REPEAT_NS, DaemonState, DaemonStatus, read_status, status_path

log = logging.getLogger(__name__)

MISCONFIGURED = "MpsMisconfigured"
DAEMON_DOWN = "MpsDaemonDown"
FAULTED = "MpsFaulted"
#: The workers that are restarted for it are gone by then.
_FAULT_LASTS_NS = 10 * NS_PER_S
#: A daemon that ended once runs again by then.
_DOWN_LASTS_NS = 5 * NS_PER_S
#: A daemon's program starts by then, and tells of its daemons three times in it.
_UNHEARD_NS = 3 * REPEAT_NS
#: Longer than the program ever waits until it starts a daemon again (60 s): where each start helps for a
#: moment, the GPU is not sick by turns.
_LASTING_NS = 90 * NS_PER_S
#: What the program does not get out of by itself.
_STAYING = (DaemonState.MISCONFIGURED, DaemonState.SERVERLESS)


@dataclass(frozen=True, slots=True)
class Closure:
    """Why nobody new can be a client of a daemon; where it is lasting, its GPU is to be left."""

    reason: str
    message: str
    is_lasting: bool


class DaemonWatch:
    """The daemons of this node, by the UUIDs of their GPUs; for any thread at any time.

    `wanted_for_ns` tells how long there has been to be one.
    """

    def __init__(
        self, state_dir: Path, wanted_for_ns: Callable[[str], int], now_ns: Callable[[], int]
    ) -> None:
        self._state_dir = state_dir
        self._wanted_for_ns = wanted_for_ns
        self._now_ns = now_ns
        #: Since when each that is not known to run is not, as far as this agent saw it.
        self._out_since_ns: dict[str, int] = {}

    def status(self, uuid: str) -> DaemonStatus | None:
        """What its program told last; None where that is nothing, or cannot be read."""
        try:
            return read_status(status_path(self._state_dir, uuid))
        except InvalidInputError as error:
            log.warning(
                "what became of the MPS daemon of GPU %s is not known: %s",
                uuid,
                error,
                extra={"device": uuid},
            )
            return None

    def closure(self, uuid: str) -> Closure | None:
        """Why nobody new can be its client, if that is so; what is mostly over in a moment is none yet."""
        status = self.status(uuid)
        out_ns = self._out_ns(uuid, status)
        why = self._why_closed(uuid, status, out_ns)
        stays = status is not None and status.state in _STAYING
        return why and Closure(*why, is_lasting=stays or out_ns > _LASTING_NS)

    def _why_closed(self, uuid: str, status: DaemonStatus | None, out_ns: int) -> tuple[str, str] | None:
        """Reason and message."""
        if self._wanted_for_ns(uuid) > _UNHEARD_NS and not self._is_fresh(status):
            return DAEMON_DOWN, (
                f"nothing was heard of the MPS daemon of GPU {uuid} for {_UNHEARD_NS // NS_PER_S} s; "
                "see the pod of kneescale-mps on this node"
            )
        match status:
            case DaemonStatus(state=DaemonState.SERVERLESS):
                return DAEMON_DOWN, _is_down(uuid, status)
            case DaemonStatus(state=DaemonState.DOWN | DaemonState.STARTING) if out_ns > _patience_ns(status):
                return DAEMON_DOWN, _is_down(uuid, status)
            case DaemonStatus(state=DaemonState.MISCONFIGURED):
                return MISCONFIGURED, f"the MPS daemon of GPU {uuid} did not take its limits: {status.line}"
            case DaemonStatus(state=DaemonState.FAULTED) if self._now_ns() - status.lost_ns > _FAULT_LASTS_NS:
                return FAULTED, (
                    f"the MPS daemon of GPU {uuid} takes no new clients until those of before its fault have "
                    f"left; delete the pods on it that do not end: {status.line}"
                )
        return None

    def _out_ns(self, uuid: str, status: DaemonStatus | None) -> int:
        """How long it has not been known to run; 0 while it is."""
        now_ns = self._now_ns()
        if status and status.state is DaemonState.RUNNING and self._is_fresh(status):
            self._out_since_ns.pop(uuid, None)
            return 0
        return now_ns - self._out_since_ns.setdefault(uuid, now_ns)

    def _is_fresh(self, status: DaemonStatus | None) -> bool:
        """Not so is one from before the node started: its clock was another."""
        return status is not None and 0 <= self._now_ns() - status.written_ns <= _UNHEARD_NS


def _is_down(uuid: str, status: DaemonStatus) -> str:
    return f"the MPS daemon of GPU {uuid} is down: {status.line}"


def _patience_ns(status: DaemonStatus) -> int:
    """How long one need not run; the program's first start comes when its container does."""
    is_first = status.state is DaemonState.STARTING and not status.restarts
    return _UNHEARD_NS if is_first else _DOWN_LASTS_NS
