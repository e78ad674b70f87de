"""The one lane of a process that is a lane: the whole process has the SMs that its environment says.

CUDA_MPS_ACTIVE_THREAD_PERCENTAGE or CUDA_MPS_SM_PARTITION, set before CUDA starts, binds an MPS client for
good; the device then shows as many SMs as it may use (NVIDIA, Multi-Process Service, "Execution Resource
Provisioning", "Static SM Partitioning").
"""

from collections.abc import Iterator
from contextlib import contextmanager

from kneescale_worker.cuda_driver import CudaDriver
from kneescale_worker.lanes import LaneUse, check_sms
from kneescale_worker.mps_contexts import CAP_UNIT_SMS


class ClientLane:
    """A stream of the primary context; `sm_count` is of the whole device, SMs come by `unit_sms`."""

    homes = 1

    def __init__(
        self, driver: CudaDriver, gpu_percent: int, sm_count: int, unit_sms: int = CAP_UNIT_SMS
    ) -> None:
        self._driver = driver
        self._gpu_percent = gpu_percent
        self._sm_count = sm_count
        self._unit_sms = unit_sms
        self._stream = 0
        self.sms: dict[int, int] = {}

    def homes_of(self, gpu_percent: int) -> int:
        """All share one; see Lanes."""
        return 1

    def open(self) -> None:
        """Read the SMs; see Lanes."""
        visible = self._driver.visible_sms()
        check_sms(self._gpu_percent, visible, self._sm_count, self._unit_sms)
        self._stream = self._driver.stream()
        self.sms[self._gpu_percent] = visible

    @contextmanager
    def at_home(self, home: int) -> Iterator[None]:
        """Nothing to do: there is one context."""
        yield

    @contextmanager
    def use(self, gpu_percent: int) -> Iterator[LaneUse]:
        """The stream; batches come one at a time, from the pipe."""
        yield LaneUse(self._stream, 0)
