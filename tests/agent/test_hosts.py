"""Hosts come and go with their devices, and one that stays is not disturbed."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from kneescale.agent.backend import Device
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.hosts import DeviceHosts


class Threads:
    """Starts threads and keeps them."""

    def __init__(self) -> None:
        self.started: dict[str, Thread] = {}

    def start(self, name: str, run: Callable[[], None]) -> Thread:
        thread = Thread(target=run, name=name)
        thread.start()
        self.started[name] = thread
        return thread

    def alive(self) -> set[str]:
        return {name for name, thread in self.started.items() if thread.is_alive()}


@pytest.fixture
def threads() -> Threads:
    return Threads()


@pytest.fixture
def hosts(threads: Threads, short_dir: Path) -> Iterator[DeviceHosts]:
    def make_host(device: str) -> DispatcherHost:
        return DispatcherHost(device, lambda uid: short_dir / uid, os.getuid())

    hosts = DeviceHosts(make_host, threads.start)
    yield hosts
    hosts.stop()
    assert not threads.alive()


def _device(name: str) -> Device:
    return Device(name, f"EMU-{name}", "V100-SXM2-16GB", 16 * 1024**3, 48, 10)


def test_each_device_has_a_running_host(hosts: DeviceHosts, threads: Threads) -> None:
    hosts.follow([_device("gpu0"), _device("gpu1")])
    assert {name: host.device for name, host in hosts.items()} == {"gpu0": "gpu0", "gpu1": "gpu1"}
    assert threads.alive() == {"dispatcher-gpu0", "dispatcher-gpu1"}


def test_a_removed_device_loses_its_host_and_the_others_keep_theirs(
    hosts: DeviceHosts, threads: Threads
) -> None:
    hosts.follow([_device("gpu0"), _device("gpu1")])
    kept, lost = hosts["gpu1"], hosts["gpu0"]
    seen = hosts.items()
    hosts.follow([_device("gpu1")])
    assert (list(hosts), hosts["gpu1"]) == (["gpu1"], kept)
    assert threads.alive() == {"dispatcher-gpu1"}
    assert dict(seen) == {"gpu0": lost, "gpu1": kept}, "who goes through them sees one moment"


def test_a_device_that_comes_back_gets_a_new_host(hosts: DeviceHosts, threads: Threads) -> None:
    hosts.follow([_device("gpu0")])
    first = hosts["gpu0"]
    hosts.follow([])
    hosts.follow([_device("gpu0")])
    assert hosts["gpu0"] is not first
    assert threads.alive() == {"dispatcher-gpu0"}
