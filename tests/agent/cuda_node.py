"""A node of the cuda-mps backend over a driver in memory, whose time passes when told to."""

import json
import os
from pathlib import Path
from threading import Event

from kneescale.agent.cuda_mps import CudaMpsBackend
from kneescale.agent.gpu_monitor import GpuMonitor
from kneescale.core.units import NS_PER_S
from kneescale.mps.status import DaemonState, DaemonStatus, status_path, write_status
from kneescale.mps.wanted import wanted_files
from tests.agent.fake_gpu_library import A100, FakeGpuLibrary


class Clock:
    """Nanoseconds that pass when told to."""

    def __init__(self) -> None:
        self.now_ns = NS_PER_S

    def __call__(self) -> int:
        return self.now_ns


class AfterOneTurn(Event):
    """Stops a thread's loop, once it came round."""

    def __init__(self) -> None:
        super().__init__()
        self.set()
        self._answers = iter((False, True))

    def is_set(self) -> bool:
        return next(self._answers)


class CudaNode:
    """A backend whose every step is one look at the driver, 5 s after the last."""

    def __init__(self, library: FakeGpuLibrary, state_dir: Path) -> None:
        self._state_dir = state_dir
        self.clock = Clock()
        monitor = GpuMonitor(library, self.clock)
        self.backend = CudaMpsBackend(monitor, state_dir, os.getuid(), None, self.clock)
        self.look()

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.clock.now_ns += 5 * NS_PER_S
            self.backend.run(AfterOneTurn())

    def daemon_tells(self, state: DaemonState, restarts: int = 0) -> None:
        """A state that it came into now."""
        self._lost_ns = self.clock.now_ns
        self._tell(state, restarts)

    def daemon_stays(self, state: DaemonState, looks: int, restarts: int = 0) -> None:
        """So it came into, and told again, until after so many looks."""
        self.daemon_tells(state, restarts)
        for _ in range(looks):
            self.look()
            self._tell(state, restarts)

    def _tell(self, state: DaemonState, restarts: int) -> None:
        since, now_ns = "2026-01-01T12:00:00Z", self.clock.now_ns
        status = DaemonStatus(
            state, since, restarts, line="it says", written_ns=now_ns, lost_ns=self._lost_ns
        )
        write_status(status_path(self._state_dir, A100), status)

    @property
    def troubles(self) -> list[str]:
        return [trouble.reason for trouble in self.backend.troubles()]

    @property
    def sicknesses(self) -> list[str]:
        return [device.sickness for device in self.backend.devices()]

    @property
    def wanted(self) -> dict[str, dict[str, object]]:
        """What is asked of the daemons' program, by GPU."""
        return {path.parent.name: json.loads(path.read_text()) for path in wanted_files(self._state_dir)}
