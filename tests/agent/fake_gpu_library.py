"""A GPU driver in memory: GPUs come, go, fall sick and are lost on request; sessions are counted."""

from collections import deque
from collections.abc import Callable
from threading import Event
from time import monotonic_ns

from kneescale.agent.gpu_library import (
    Faults,
    GpuReading,
    Inventory,
    LibraryError,
    LibraryReplacedError,
    Version,
    XidEvent,
)
from kneescale.agent.gpu_monitor import GpuMonitor

A100 = "GPU-aaaaaaaa-0000-4000-8000-000000000001"
H100 = "GPU-bbbbbbbb-0000-4000-8000-000000000002"
AMPERE = Version(8, 0)
CUDA_13_1 = Version(13, 1)
NOT_LOADED = LibraryError("DriverNotLoaded", "load the module")


def gpu(
    uuid: str = A100,
    *,
    name: str = "NVIDIA A100-SXM4-40GB",
    core_count: int = 6912,
    compute_capability: Version = AMPERE,
    mig_enabled: bool = False,
    faults: Faults | None = None,
) -> GpuReading:
    """A healthy A100, but for what is given."""
    return GpuReading(
        uuid=uuid,
        name=name,
        memory_bytes=39 * 1024**3,
        core_count=core_count,
        compute_capability=compute_capability,
        mig_enabled=mig_enabled,
        faults=faults or Faults(),
    )


class FakeGpuLibrary:
    """GpuLibrary over a list.

    `error` makes every call fail, `wait_error` the wait for Xid errors alone, `stale` this session's calls.
    """

    def __init__(
        self, *gpus: GpuReading, cuda: Version = CUDA_13_1, driver: int = 615, wait_s: float = 0
    ) -> None:
        self.gpus = list(gpus)
        self.lost = 0
        self.failed = 0
        self.driver = Version(driver, 71)
        self.cuda = cuda
        self.error: LibraryError | LibraryReplacedError | None = None
        self.wait_error: LibraryError | None = None
        self.events: deque[XidEvent] = deque()
        self.opened = 0
        self._wait_s = wait_s
        self.is_open = False
        self.stale = False

    def open(self) -> None:
        """See GpuLibrary."""
        self._check()
        assert not self.is_open, "one session at a time"
        self.opened += 1
        self.stale = False
        self.is_open = True

    def close(self) -> None:
        """See GpuLibrary."""
        self.is_open = False

    def inventory(self) -> Inventory:
        """See GpuLibrary."""
        self._check()
        assert self.is_open
        if self.stale:
            raise LibraryError("DriverFailed", "the driver was loaded anew")
        return Inventory(self.driver, self.cuda, tuple(self.gpus), self.lost, self.failed)

    def wait_for_xid(self, timeout_ms: int) -> XidEvent | None:
        """The next event; where there is none, after `wait_s`, however long the caller would wait."""
        self._check()
        assert self.is_open
        if self.wait_error is not None:
            raise self.wait_error
        if not self.events:
            Event().wait(self._wait_s)
            return None
        return self.events.popleft()

    def _check(self) -> None:
        if self.error is not None:
            raise self.error


def looked_at(library: FakeGpuLibrary, now_ns: Callable[[], int] = monotonic_ns) -> GpuMonitor:
    """A monitor after its first look."""
    monitor = GpuMonitor(library, now_ns)
    monitor.look()
    return monitor
