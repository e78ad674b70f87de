"""The port between the agent and the GPU driver: what is asked of a node's GPUs, and what is answered."""

from dataclasses import dataclass, field
from typing import Protocol

from kneescale.core.errors import KneescaleError


class LibraryError(KneescaleError):
    """The driver cannot be asked; `reason` is one CamelCase word, the message says what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class LibraryReplacedError(KneescaleError):
    """The driver's library is another one than this process loaded, and only a new process can load it."""


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Two numbers: a CUDA version, a compute capability, or a driver's branch and release."""

    major: int
    minor: int = 0

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@dataclass(frozen=True, slots=True)
class Faults:
    """What the driver says is wrong with a GPU now; it still says so after the agent restarted."""

    #: Errors that ECC found and could not correct since the driver was loaded.
    uncorrected_ecc_errors: int = 0
    retired_pages_pending: bool = False
    row_remap_failed: bool = False
    recovery_needed: bool = False


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU as the driver shows it; `memory_bytes` is without what the driver reserves.

    `core_count` is CUDA cores, 0 under MIG, where the driver does not say.
    """

    uuid: str
    name: str
    memory_bytes: int
    core_count: int
    compute_capability: Version
    mig_enabled: bool
    faults: Faults = field(default_factory=Faults)


@dataclass(frozen=True, slots=True)
class Inventory:
    """All GPUs of a node at one time.

    Not among `gpus` are those that the driver lists but calls lost, which `lost` counts, and those of which
    it answered with another error this time, which `failed` counts.
    """

    driver: Version
    cuda: Version
    gpus: tuple[GpuReading, ...]
    lost: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class XidEvent:
    """The driver reported error `xid` of a GPU; `uuid` is empty when that GPU cannot be asked any more."""

    uuid: str
    xid: int


class GpuLibrary(Protocol):
    """A session with the driver, used by one thread; a session sees the GPUs that were there at `open`.

    Every method but `close` raises LibraryError when the driver cannot be asked.
    """

    def open(self) -> None:
        """Start a session and listen for Xid errors of all GPUs.

        Raises LibraryReplacedError, too.
        """

    def close(self) -> None:
        """End the session, if there is one."""

    def inventory(self) -> Inventory:
        """The GPUs as they are now."""

    def wait_for_xid(self, timeout_ms: int) -> XidEvent | None:
        """The next Xid error; None when there is none for `timeout_ms`."""
