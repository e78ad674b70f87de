"""An agent that starts before the GPU driver is there goes on, says so, and has its devices later."""

import os
from pathlib import Path
from threading import Thread

from kneescale.agent.agent import Agent
from kneescale.agent.cuda_mps import CudaMpsBackend
from kneescale.agent.gpu_library import XidEvent
from tests.agent.agent_process import settings_below
from tests.agent.builders import NODE
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.agent.fake_gpu_library import A100, NOT_LOADED, FakeGpuLibrary, gpu
from tests.waiting import wait_until


def _condition(api: FakeClusterApi) -> tuple[str, str]:
    return next(((c["status"], c["reason"]) for c in api.node["status"]["conditions"]), ("", ""))


def _published(api: FakeClusterApi) -> list[str]:
    slices = list(api.slices.values())
    return [device["name"] for found in slices for device in found["spec"].get("devices", ())]


def test_devices_appear_when_the_driver_does_without_a_restart(short_dir: Path) -> None:
    api, library = FakeClusterApi(), FakeGpuLibrary(gpu(), wait_s=0.05)
    library.error = NOT_LOADED
    agent = Agent(settings_below(short_dir), CudaMpsBackend(library, short_dir, os.getuid(), None), api)
    thread = Thread(target=agent.run)
    thread.start()
    try:
        wait_until(lambda: _condition(api) == ("False", "DriverNotLoaded"), "the condition")
        wait_until(lambda: f"{NODE}-gpu.kneescale.dev" in api.slices, "the slice")
        assert _published(api) == []
        library.error = None
        wait_until(lambda: _published(api) == ["gpu-aaaaaaaa"], "the device")
        wait_until(lambda: _condition(api) == ("True", "AllReady"), "the condition")
    finally:
        agent.stop()
        thread.join(20)
        assert not thread.is_alive()
    assert [event["type"] for event in api.events] == ["Warning", "Normal"]


def test_an_agent_that_has_ended_asks_the_driver_and_for_daemons_no_more(short_dir: Path) -> None:
    library = FakeGpuLibrary(gpu(), wait_s=1.5)
    backend = CudaMpsBackend(library, short_dir, os.getuid(), None)
    agent = Agent(settings_below(short_dir), backend, FakeClusterApi())
    thread = Thread(target=agent.run)
    thread.start()
    try:
        # Once it is taken, the next wait has just begun.
        library.events.append(XidEvent(A100, 13))
        wait_until(lambda: not library.events, "an Xid error to be taken")
    finally:
        agent.stop()
        thread.join(20)
        assert not thread.is_alive()
    assert not library.is_open
