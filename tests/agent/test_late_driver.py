"""An agent that starts before the GPU driver is there, or answers, says so and has its devices later."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from kneescale.agent.agent import Agent
from kneescale.agent.cuda_mps import CudaMpsBackend
from kneescale.agent.gpu_library import Inventory, LibraryError, XidEvent
from kneescale.agent.gpu_monitor import GpuMonitor
from kneescale.agent.resource_slice import SlicePublisher
from kneescale.core.units import NS_PER_S
from tests.agent.agent_process import settings_below
from tests.agent.builders import NODE
from tests.agent.cuda_node import Clock
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.agent.fake_gpu_library import A100, H100, NOT_LOADED, FakeGpuLibrary, gpu, looked_at
from tests.waiting import wait_until


def _condition(api: FakeClusterApi) -> tuple[str, str]:
    return next(((c["status"], c["reason"]) for c in api.node["status"]["conditions"]), ("", ""))


def _published(api: FakeClusterApi) -> list[str]:
    slices = list(api.slices.values())
    return [device["name"] for found in slices for device in found["spec"].get("devices", ())]


@contextmanager
def _running(
    folder: Path, library: FakeGpuLibrary, api: FakeClusterApi, now_ns: Callable[[], int] = time.monotonic_ns
) -> Iterator[None]:
    """An agent over that driver, which ends with the block."""
    backend = CudaMpsBackend(GpuMonitor(library, now_ns), folder, os.getuid(), None)
    agent = Agent(settings_below(folder), backend, api)
    thread = Thread(target=agent.run)
    thread.start()
    try:
        yield
    finally:
        agent.stop()
        thread.join(20)
        assert not thread.is_alive()


def test_devices_appear_when_the_driver_does_without_a_restart(short_dir: Path) -> None:
    api, library, clock = FakeClusterApi(), FakeGpuLibrary(gpu(), wait_s=0.05), Clock()
    library.error = NOT_LOADED
    with _running(short_dir, library, api, clock):
        clock.now_ns += 15 * NS_PER_S
        wait_until(lambda: _condition(api) == ("False", "DriverNotLoaded"), "the condition")
        wait_until(lambda: f"{NODE}-gpu.kneescale.dev" in api.slices, "the slice")
        assert _published(api) == []
        library.error = None
        wait_until(lambda: _published(api) == ["gpu-aaaaaaaa"], "the device")
        wait_until(lambda: _condition(api) == ("True", "AllReady"), "the condition")
        wait_until(lambda: len(api.events) == 2, "the Events")
    assert [event["type"] for event in api.events] == ["Warning", "Normal"]


class HangingLibrary(FakeGpuLibrary):
    """A driver whose first call, which `is_asked` tells of, does not return until `let_go`."""

    def __init__(self) -> None:
        super().__init__(gpu(), wait_s=0.05)
        self.is_asked, self.let_go = Event(), Event()

    def open(self) -> None:
        self.is_asked.set()
        self.let_go.wait()
        super().open()


def _publish_before(folder: Path, api: FakeClusterApi, *uuids: str) -> None:
    """What an agent of before left published."""
    library = FakeGpuLibrary(*map(gpu, uuids))
    SlicePublisher(api, NODE, CudaMpsBackend(looked_at(library), folder, os.getuid(), None)).publish()


def test_a_driver_that_hangs_when_the_agent_starts_is_told_and_withdraws_nothing(short_dir: Path) -> None:
    api, library, clock = FakeClusterApi(), HangingLibrary(), Clock()
    _publish_before(short_dir, api, A100, H100)
    try:
        with _running(short_dir, library, api, clock):
            clock.now_ns += 61 * NS_PER_S
            wait_until(lambda: _condition(api) == ("False", "DriverHangs"), "the condition")
            assert _published(api) == ["gpu-aaaaaaaa", "gpu-bbbbbbbb"]
            library.let_go.set()
            wait_until(lambda: _published(api) == ["gpu-aaaaaaaa"], "what the driver says in the end")
            wait_until(lambda: _condition(api) == ("True", "AllReady"), "the condition")
    finally:
        library.let_go.set()


def test_an_agent_that_is_told_to_end_does_not_wait_for_a_driver_that_hangs(short_dir: Path) -> None:
    library = HangingLibrary()
    try:
        with _running(short_dir, library, FakeClusterApi(), Clock()):
            assert library.is_asked.wait(10)
    finally:
        library.let_go.set()


def test_a_first_answer_that_fails_withdraws_no_gpu(short_dir: Path) -> None:
    class OnceFailing(FakeGpuLibrary):
        """The first inventory fails."""

        def inventory(self) -> Inventory:
            if self.opened == 1:
                raise LibraryError("DriverFailed", "an unknown error")
            return super().inventory()

    api = FakeClusterApi()
    _publish_before(short_dir, api, A100)
    with _running(short_dir, OnceFailing(gpu(), wait_s=0.05), api):
        wait_until(lambda: _condition(api) == ("True", "AllReady"), "the condition")
        wait_until(lambda: bool(api.events), "its Event")
    assert api.writes == ["create"]
    assert [event["type"] for event in api.events] == ["Normal"]


def test_an_agent_that_has_ended_asks_the_driver_and_for_daemons_no_more(short_dir: Path) -> None:
    library = FakeGpuLibrary(gpu(), wait_s=1.5)
    with _running(short_dir, library, FakeClusterApi()):
        # Once it is taken, the next wait has just begun.
        library.events.append(XidEvent(A100, 13))
        wait_until(lambda: not library.events, "an Xid error to be taken")
    assert not library.is_open
