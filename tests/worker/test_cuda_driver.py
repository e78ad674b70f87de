# ruff: noqa: N802  (functions have the names that the driver gives them)
"""How the driver library is called, on a stand-in for it: argument by argument as in the manual."""

import ctypes
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from kneescale_worker.cuda_driver import LibCuda, SmResource
from kneescale_worker.errors import LoadError

#: As ctypes passes them: values, and references whose target is in `_obj`.
Arg: TypeAlias = Any
_DEVICE, _SMS, _UNIT = 0, 132, 8


class FakeLibrary:
    """Functions of libcuda that write to what their arguments point at, as ctypes passes them."""

    def __init__(self, *, v4: bool = True, fails: str = "", mps: bool = True) -> None:
        self.calls: list[str] = []
        self._attributes = {16: _SMS, 133: int(mps)}
        self._fails = fails
        self._handles = 0x1000
        self.current = 0
        self.asked_sms = 0
        if v4:
            self.cuCtxCreate_v4 = self._recorded("cuCtxCreate_v4", self._create_v4)
        for name in (
            "cuInit",
            "cuDeviceGet",
            "cuDeviceGetAttribute",
            "cuDeviceGetDevResource",
            "cuDevSmResourceSplitByCount",
            "cuDevResourceGenerateDesc",
            "cuGreenCtxCreate",
            "cuGreenCtxStreamCreate",
            "cuGreenCtxGetDevResource",
            "cuCtxCreate_v3",
            "cuCtxGetExecAffinity",
            "cuStreamCreate",
            "cuCtxPushCurrent_v2",
            "cuCtxPopCurrent_v2",
        ):
            setattr(self, name, self._recorded(name, getattr(self, f"_{name}")))

    def cuGetErrorName(self, status: int, name: Arg) -> int:
        name._obj.value = b"CUDA_ERROR_NOT_SUPPORTED"
        return 0 * status

    def _recorded(self, name: str, function: Callable[..., None]) -> Callable[..., int]:
        def call(*arguments: Arg) -> int:
            self.calls.append(name)
            if name == self._fails:
                return 801
            function(*arguments)
            return 0

        return call

    def _handle(self, place: Arg) -> None:
        self._handles += 16
        place._obj.value = self._handles

    def _cuInit(self, flags: Arg) -> None:
        assert flags.value == 0

    def _cuDeviceGet(self, device: Arg, ordinal: Arg) -> None:
        device._obj.value = _DEVICE + ordinal.value

    def _cuDeviceGetAttribute(self, value: Arg, attribute: Arg, device: Arg) -> None:
        assert device.value == _DEVICE
        value._obj.value = self._attributes[attribute.value]

    def _cuDeviceGetDevResource(self, device: Arg, resource: Arg, kind: Arg) -> None:
        assert (device.value, kind.value) == (_DEVICE, 1)
        resource._obj.sm_count = _SMS

    def _cuDevSmResourceSplitByCount(
        self,
        result: Arg,
        count: Arg,
        resource: Arg,
        left_over: Arg,
        flags: Arg,
        at_least: Arg,
    ) -> None:
        assert (flags.value, at_least.value, resource._obj.sm_count) == (0, 1, _SMS)
        count._obj.value = _SMS // _UNIT
        if result is not None:
            for group in result:
                group.sm_count = _UNIT
            left_over._obj.sm_count = _SMS % _UNIT

    def _cuDevResourceGenerateDesc(self, descriptor: Arg, resources: Arg, count: Arg) -> None:
        assert len(resources) == count.value
        self._together = sum(resource.sm_count for resource in resources)
        self._handle(descriptor)

    def _cuGreenCtxCreate(self, context: Arg, descriptor: Arg, device: Arg, flags: Arg) -> None:
        assert (descriptor.value, device.value, flags.value) == (self._handles, _DEVICE, 1)
        self._handle(context)

    def _cuGreenCtxStreamCreate(self, stream: Arg, context: Arg, flags: Arg, priority: Arg) -> None:
        assert (context.value, flags.value, priority.value) == (self._handles, 1, 0)
        self._handle(stream)

    def _cuGreenCtxGetDevResource(self, context: Arg, resource: Arg, kind: Arg) -> None:
        assert (context.value, kind.value) == (self._handles - 16, 1)
        resource._obj.sm_count = self._together

    def _create_v4(self, context: Arg, params: Arg, flags: Arg, device: Arg) -> None:
        assert (params._obj.affinity_count, flags.value, device.value) == (1, 0, _DEVICE)
        self._create(context, params._obj.affinity.contents)

    def _cuCtxCreate_v3(self, context: Arg, affinity: Arg, count: Arg, flags: Arg, device: Arg) -> None:
        assert (count.value, flags.value, device.value) == (1, 0, _DEVICE)
        self._create(context, affinity._obj)

    def _create(self, context: Arg, affinity: Arg) -> None:
        assert affinity.type == 0
        self.asked_sms = affinity.sm_count
        self._handle(context)
        self.current = self._handles

    def _cuCtxGetExecAffinity(self, affinity: Arg, kind: Arg) -> None:
        assert kind.value == 0
        assert self.current
        affinity._obj.sm_count = self.asked_sms + 1

    def _cuStreamCreate(self, stream: Arg, flags: Arg) -> None:
        assert flags.value == 1
        self._handle(stream)

    def _cuCtxPushCurrent_v2(self, context: Arg) -> None:
        self.current = context.value

    def _cuCtxPopCurrent_v2(self, context: Arg) -> None:
        context._obj.value, self.current = self.current, 0


def test_a_resource_is_laid_out_as_in_cuda_h() -> None:
    assert ctypes.sizeof(SmResource) == 144
    assert SmResource.sm_count.offset == 96  # type: ignore[attr-defined]


def test_sms_are_split_once_for_all_and_groups_joined_to_a_context() -> None:
    driver = LibCuda(FakeLibrary())
    groups = driver.split_sms(driver.all_sms())
    assert [group.sm_count for group in groups] == [8] * 16
    made = driver.green_stream(groups[:3])
    assert made.sms == 24
    assert made.stream


@pytest.mark.parametrize("v4", [True, False])
def test_a_capped_context_is_read_back_and_not_left_current(v4: bool) -> None:
    library = FakeLibrary(v4=v4)
    made = LibCuda(library).capped_context(27)
    assert (library.asked_sms, made.sms, library.current) == (27, 28, 0)
    assert ("cuCtxCreate_v3" in library.calls) is not v4


def test_a_context_is_made_current_and_taken_off() -> None:
    library = FakeLibrary()
    driver = LibCuda(library)
    driver.push(0x1230)
    assert library.current == 0x1230
    driver.pop()
    assert library.current == 0
    assert driver.visible_sms() == _SMS


@pytest.mark.parametrize("mps", [True, False])
def test_whether_it_is_a_client_of_mps(mps: bool) -> None:
    assert LibCuda(FakeLibrary(mps=mps)).is_mps_client() is mps


def test_a_driver_that_cannot_tell_is_no_reason_not_to_start() -> None:
    assert LibCuda(FakeLibrary(fails="cuDeviceGetAttribute")).is_mps_client()


def test_a_failure_is_said_in_the_drivers_words() -> None:
    with pytest.raises(LoadError, match="cuDeviceGetDevResource failed: CUDA_ERROR_NOT_SUPPORTED"):
        LibCuda(FakeLibrary(fails="cuDeviceGetDevResource")).all_sms()


def test_a_function_that_an_old_driver_lacks_is_named() -> None:
    library = FakeLibrary()
    del library.cuGreenCtxCreate  # type: ignore[attr-defined]
    driver = LibCuda(library)
    with pytest.raises(LoadError, match="this CUDA driver has no cuGreenCtxCreate"):
        driver.green_stream([driver.all_sms()])


def test_without_a_driver_it_says_so() -> None:
    with pytest.raises(LoadError, match="no CUDA driver: "):
        LibCuda()
