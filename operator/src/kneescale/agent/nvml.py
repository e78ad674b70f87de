"""GpuLibrary over NVML, to NVIDIA's NVML API reference. Nothing else imports pynvml."""

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, TypeVar

import pynvml

from kneescale.agent.gpu_library import (
    Faults,
    GpuReading,
    Inventory,
    LibraryError,
    LibraryReplacedError,
    Version,
    XidEvent,
)

_MISMATCH: Final = "DriverVersionMismatch"
#: Why the driver cannot be asked, by NVML's code: our reason, and what to do.
_REASONS: Final = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
        "LibraryNotFound",
        "the agent finds no libnvidia-ml.so.1; install the NVIDIA driver on the node",
    ),
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: (
        "DriverNotLoaded",
        "the NVIDIA kernel module is not loaded; load it on the node (modprobe nvidia)",
    ),
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
        _MISMATCH,
        "the NVIDIA library and kernel module differ, as after an upgrade; reload the module or reboot",
    ),
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: (
        "DriverTooOld",
        "the NVIDIA driver lacks a function that is needed; install release 510 or newer",
    ),
    pynvml.NVML_ERROR_NO_PERMISSION: (
        "NoPermission",
        "the agent may not open the NVIDIA device files; run it as manifests/overlays/nvidia does",
    ),
}
_LIBRARY: Final = "libnvidia-ml.so.1"
#: Where distributions install it; the last are Debian's, whose other links are absolute and lead nowhere.
_LIBRARY_DIRS: Final = (
    "usr/lib64",
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/nvidia/current",
    "usr/lib/aarch64-linux-gnu/nvidia/current",
)
_FAILED: Final = ("DriverFailed", "the NVIDIA driver answers with an error; see the node's kernel log")
_NEEDS_RECOVERY: Final = frozenset(
    {
        pynvml.NVML_GPU_RECOVERY_ACTION_GPU_RESET,
        pynvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT,
        pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET,
        pynvml.NVML_GPU_RECOVERY_ACTION_BUS_RESET,
        pynvml.NVML_GPU_RECOVERY_ACTION_SYSTEM_REBOOT,
    }
)

T = TypeVar("T")
Handle = Any


class NvmlLibrary:
    """One NVML session at a time; see GpuLibrary.

    `driver_root` is where the node's own file system is seen; None where the loader finds the library.
    """

    def __init__(self, driver_root: Path | None) -> None:
        self._driver_root = driver_root
        self._is_open = False
        self._events: Any = None
        #: pynvml keeps the first that it loads.
        self._loaded: _LibraryFile | None = None

    def open(self) -> None:
        """See GpuLibrary."""
        installed = None if self._driver_root is None else _preload(self._driver_root)
        self._loaded = self._loaded or installed
        try:
            self._begin()
        except LibraryError as error:
            if error.reason == _MISMATCH and installed != self._loaded:
                raise LibraryReplacedError(
                    "the NVIDIA library is another one than this process loaded"
                ) from error
            raise

    def _begin(self) -> None:
        with _library_errors():
            pynvml.nvmlInit()
            self._is_open = True
            self._events = pynvml.nvmlEventSetCreate()
            for index in range(pynvml.nvmlDeviceGetCount()):
                _listen(index, self._events)

    def close(self) -> None:
        """See GpuLibrary."""
        if self._is_open:
            with suppress(pynvml.NVMLError):
                if self._events is not None:
                    pynvml.nvmlEventSetFree(self._events)
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()
        self._is_open = False
        self._events = None

    def inventory(self) -> Inventory:
        """See GpuLibrary."""
        with _library_errors():
            found = [_reading(index) for index in range(pynvml.nvmlDeviceGetCount())]
            return Inventory(
                driver=_driver_version(pynvml.nvmlSystemGetDriverVersion()),
                cuda=_cuda_version(pynvml.nvmlSystemGetCudaDriverVersion_v2()),
                gpus=tuple(reading for reading in found if isinstance(reading, GpuReading)),
                lost=found.count(_Unread.LOST),
                failed=found.count(_Unread.FAILED),
            )

    def wait_for_xid(self, timeout_ms: int) -> XidEvent | None:
        """See GpuLibrary."""
        with _library_errors():
            try:
                event = pynvml.nvmlEventSetWait_v2(self._events, timeout_ms)
            except pynvml.NVMLError_Timeout:
                return None
        return XidEvent(_uuid_or_empty(event.device), event.eventData)


@dataclass(frozen=True, slots=True)
class _LibraryFile:
    """A file, by what differs where another one took its place."""

    path: Path
    inode: int


def _preload(driver_root: Path) -> _LibraryFile | None:
    """Load the node's NVML by its path, if it is there; pynvml asks for it by its name and gets the same."""
    for found in (root / folder / _LIBRARY for root in _roots(driver_root) for folder in _LIBRARY_DIRS):
        if found.exists():
            try:
                ctypes.CDLL(str(found))
            except OSError as error:
                raise LibraryError("LibraryBroken", f"{found} cannot be loaded: {error}") from error
            return _LibraryFile(found.resolve(), found.stat().st_ino)
    return None


def _roots(driver_root: Path) -> tuple[Path, ...]:
    """The node's own driver, or that of NVIDIA's driver container."""
    return driver_root, driver_root / "run/nvidia/driver"


def _listen(index: int, events: Any) -> None:  # noqa: ANN401 - NVML's own opaque pointer
    """Add a GPU's Xid errors to the event set; one that cannot be reached will show in the inventory."""
    with suppress(pynvml.NVMLError):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)


class _Unread(Enum):
    """Why a GPU could not be read, whatever is the matter with it alone."""

    LOST = auto()
    FAILED = auto()


def _reading(index: int) -> GpuReading | _Unread:
    try:
        return _read(pynvml.nvmlDeviceGetHandleByIndex(index))
    except pynvml.NVMLError_GpuIsLost:
        return _Unread.LOST
    except pynvml.NVMLError as error:
        if error.value in _REASONS:
            raise
        return _Unread.FAILED


def _read(handle: Handle) -> GpuReading:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    mig_enabled = bool(_known(lambda: pynvml.nvmlDeviceGetMigMode(handle)[0], 0))
    return GpuReading(
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        name=pynvml.nvmlDeviceGetName(handle),
        memory_bytes=memory.total - memory.reserved,
        core_count=0 if mig_enabled else pynvml.nvmlDeviceGetNumGpuCores(handle),
        compute_capability=Version(*pynvml.nvmlDeviceGetCudaComputeCapability(handle)),
        mig_enabled=mig_enabled,
        faults=Faults() if mig_enabled else _faults(handle),
    )


def _faults(handle: Handle) -> Faults:
    return Faults(
        uncorrected_ecc_errors=_known(
            lambda: pynvml.nvmlDeviceGetTotalEccErrors(
                handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
            ),
            0,
        ),
        retired_pages_pending=bool(_known(lambda: pynvml.nvmlDeviceGetRetiredPagesPendingStatus(handle), 0)),
        row_remap_failed=bool(_known(lambda: pynvml.nvmlDeviceGetRemappedRows(handle)[3], 0)),
        recovery_needed=_recovery_action(handle) in _NEEDS_RECOVERY,
    )


def _recovery_action(handle: Handle) -> int:
    """What the driver says must be done; none on drivers that do not know the field (before r565)."""
    fields = _known(
        lambda: pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION]), None
    )
    if fields is None or fields[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return int(pynvml.NVML_GPU_RECOVERY_ACTION_NONE)
    return int(fields[0].value.uiVal)


def _known(ask: Callable[[], T], otherwise: T) -> T:
    """What NVML answers; `otherwise` where this GPU has no such thing, or does not say it this time.

    Only what every GPU answers tells whether it can be reached.
    """
    try:
        return ask()
    except pynvml.NVMLError_GpuIsLost:
        raise
    except pynvml.NVMLError:
        return otherwise


def _uuid_or_empty(handle: Handle) -> str:
    try:
        return str(pynvml.nvmlDeviceGetUUID(handle))
    except pynvml.NVMLError:
        return ""


def _driver_version(text: str) -> Version:
    """ "615.71.05" is branch 615, release 71."""
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    return Version(*numbers[:2])


def _cuda_version(number: int) -> Version:
    """NVML's 13010 is CUDA 13.1."""
    return Version(number // 1000, number % 1000 // 10)


@contextmanager
def _library_errors() -> Iterator[None]:
    """Turns what NVML raises into LibraryError."""
    try:
        yield
    except pynvml.NVMLError as error:
        reason, advice = _REASONS.get(error.value, _FAILED)
        raise LibraryError(reason, f"{advice} (NVML: {error})") from error
