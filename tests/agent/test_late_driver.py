"""An agent that starts before the GPU driver is there goes on, says so, and has its devices later."""

import os
from pathlib import Path
from threading import Thread

from kneescale.agent.agent import Agent
from kneescale.agent.cuda_mps import CudaMpsBackend
from tests.agent.agent_process import settings_below
from tests.agent.builders import NODE
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.agent.fake_gpu_library import NOT_LOADED, FakeGpuLibrary, gpu
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
    assert [event["type"] for event in api.events] == ["Warning", "Normal"]
