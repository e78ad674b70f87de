"""The few calls of the CUDA driver API that lanes need; `LibCuda` makes them, written to the manual.

Seen to work with driver 580.159.04. Structures and functions: NVIDIA, CUDA Driver API, "Green Contexts" (12.4
and newer) and "Context Management" (cuCtxCreate_v3, and cuCtxCreate_v4 where there is one), cuda.h.
"""

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, byref, c_int, c_ubyte, c_uint, c_void_p
from dataclasses import dataclass
from typing import Any, Protocol

from kneescale_worker.errors import LoadError

_LIBRARY = "libcuda.so.1"
_SM_RESOURCE = 1  # CU_DEV_RESOURCE_TYPE_SM
_SM_COUNT_AFFINITY = 0  # CU_EXEC_AFFINITY_TYPE_SM_COUNT
_MULTIPROCESSOR_COUNT = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
_MPS_ENABLED = 133  # CU_DEVICE_ATTRIBUTE_MPS_ENABLED, in cuda.h since CUDA 12.3
_GREEN_CONTEXT_DEFAULT_STREAM = 1  # CU_GREEN_CTX_DEFAULT_STREAM, the one flag that must be set
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, the one flag that a green context's stream may have
#: Where an SM resource's data begins, and how long a CUdevResource is, in every version so far.
_RESOURCE_DATA_OFFSET, _RESOURCE_SIZE = 96, 144


class SmResource(ctypes.Structure):
    """CUdevResource of some SMs: which ones only the driver knows, and how many."""

    _fields_ = (
        ("type", c_int),
        ("internal", c_ubyte * (_RESOURCE_DATA_OFFSET - 4)),
        ("sm_count", c_uint),
        ("other", c_ubyte * (_RESOURCE_SIZE - _RESOURCE_DATA_OFFSET - 4)),
    )
    sm_count: int


class _ExecAffinity(ctypes.Structure):
    """CUexecAffinityParam with an SM count, the only kind there is."""

    _fields_ = (("type", c_int), ("sm_count", c_uint))
    sm_count: int


class _ContextParams(ctypes.Structure):
    """CUctxCreateParams."""

    _fields_ = (("affinity", POINTER(_ExecAffinity)), ("affinity_count", c_int), ("cig", c_void_p))


@dataclass(frozen=True, slots=True)
class GreenStream:
    """A stream in a green context of its own, and the context's SMs."""

    stream: int
    sms: int


@dataclass(frozen=True, slots=True)
class CappedContext:
    """A context of an MPS client that is limited to some SMs, and a stream in it."""

    context: int
    stream: int
    sms: int


class CudaDriver(Protocol):
    """Every call raises LoadError with the driver's own words when it fails."""

    def is_mps_client(self) -> bool:
        """Whether contexts of this process go through an MPS daemon; True where the driver cannot tell."""

    def visible_sms(self) -> int:
        """SMs of the device as this process may use it: under MPS, its percentage of them."""

    def all_sms(self) -> SmResource:
        """The device's SMs as one resource."""

    def split_sms(self, resource: SmResource) -> list[SmResource]:
        """The resource in the smallest disjoint groups that there are; some SMs may be left over."""

    def green_stream(self, groups: Sequence[SmResource]) -> GreenStream:
        """A green context of groups that come from one and the same split."""

    def capped_context(self, sms: int) -> CappedContext:
        """A context limited to `sms` SMs, rounded by the driver; it is not current afterwards."""

    def stream(self) -> int:
        """A stream in the current context."""

    def push(self, context: int) -> None:
        """Make a context current for this thread."""

    def pop(self) -> None:
        """Go back to the one of before."""


class LibCuda:
    """The driver's library, on the only device that this process sees."""

    def __init__(self, library: Any = None) -> None:  # noqa: ANN401  (ctypes has no types for functions)
        try:
            self._library = library if library is not None else ctypes.CDLL(_LIBRARY)
        except OSError as error:
            raise LoadError(f"no CUDA driver: {error}") from error
        self._call("cuInit", c_uint(0))
        device = c_int()
        self._call("cuDeviceGet", byref(device), c_int(0))
        self._device = device

    def is_mps_client(self) -> bool:
        """Ask whether contexts "created on this device will be shared via MPS" (cuda.h); see CudaDriver."""
        try:
            return self._attribute(_MPS_ENABLED) == 1
        except LoadError:
            # It is older than the attribute.
            return True

    def visible_sms(self) -> int:
        """Ask for the attribute; see CudaDriver."""
        return self._attribute(_MULTIPROCESSOR_COUNT)

    def all_sms(self) -> SmResource:
        """See CudaDriver."""
        resource = SmResource()
        self._call("cuDeviceGetDevResource", self._device, byref(resource), c_int(_SM_RESOURCE))
        return resource

    def split_sms(self, resource: SmResource) -> list[SmResource]:
        """Ask for groups of one SM, which the driver rounds up to what it can do; see CudaDriver."""
        count = c_uint()
        smallest = (c_uint(0), c_uint(1))
        # Without room for a result it only says how many groups there would be.
        self._call("cuDevSmResourceSplitByCount", None, byref(count), byref(resource), None, *smallest)
        groups, left_over = (SmResource * count.value)(), SmResource()
        self._call(
            "cuDevSmResourceSplitByCount",
            groups,
            byref(count),
            byref(resource),
            byref(left_over),
            *smallest,
        )
        return list(groups)[: count.value]

    def green_stream(self, groups: Sequence[SmResource]) -> GreenStream:
        """Descriptor, context, stream, and its SMs read back; see CudaDriver."""
        descriptor, context, stream = c_void_p(), c_void_p(), c_void_p()
        together = (SmResource * len(groups))(*groups)
        self._call("cuDevResourceGenerateDesc", byref(descriptor), together, c_uint(len(groups)))
        flags = c_uint(_GREEN_CONTEXT_DEFAULT_STREAM)
        self._call("cuGreenCtxCreate", byref(context), descriptor, self._device, flags)
        self._call("cuGreenCtxStreamCreate", byref(stream), context, c_uint(_NON_BLOCKING), c_int(0))
        resource = SmResource()
        self._call("cuGreenCtxGetDevResource", context, byref(resource), c_int(_SM_RESOURCE))
        return GreenStream(_handle(stream), resource.sm_count)

    def capped_context(self, sms: int) -> CappedContext:
        """Create it, which makes it current, read its SMs back, and take it off again; see CudaDriver."""
        context, affinity = c_void_p(), _ExecAffinity(_SM_COUNT_AFFINITY, sms)
        if hasattr(self._library, "cuCtxCreate_v4"):
            params = _ContextParams(ctypes.pointer(affinity), 1, None)
            self._call("cuCtxCreate_v4", byref(context), byref(params), c_uint(0), self._device)
        else:
            self._call("cuCtxCreate_v3", byref(context), byref(affinity), c_int(1), c_uint(0), self._device)
        try:
            stream, actual = self.stream(), _ExecAffinity()
            self._call("cuCtxGetExecAffinity", byref(actual), c_int(_SM_COUNT_AFFINITY))
        finally:
            self.pop()
        return CappedContext(_handle(context), stream, actual.sm_count)

    def stream(self) -> int:
        """See CudaDriver."""
        stream = c_void_p()
        self._call("cuStreamCreate", byref(stream), c_uint(_NON_BLOCKING))
        return _handle(stream)

    def push(self, context: int) -> None:
        """See CudaDriver."""
        self._call("cuCtxPushCurrent_v2", c_void_p(context))

    def pop(self) -> None:
        """See CudaDriver."""
        self._call("cuCtxPopCurrent_v2", byref(c_void_p()))

    def _attribute(self, attribute: int) -> int:
        value = c_int()
        self._call("cuDeviceGetAttribute", byref(value), c_int(attribute), self._device)
        return value.value

    def _call(self, name: str, *arguments: object) -> None:
        try:
            function = getattr(self._library, name)
        except AttributeError as error:
            raise LoadError(
                f"this CUDA driver has no {name}; a newer one, or another tier, is needed"
            ) from error
        status = function(*arguments)
        if status:
            raise LoadError(f"{name} failed: {self._words(status)}")

    def _words(self, status: int) -> str:
        name = ctypes.c_char_p()
        self._library.cuGetErrorName(status, byref(name))
        return name.value.decode() if name.value else f"error {status}"


def _handle(pointer: c_void_p) -> int:
    assert pointer.value is not None
    return pointer.value
