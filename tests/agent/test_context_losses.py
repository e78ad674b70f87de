"""When a device's workers lost their GPU contexts, all of them are restarted, once, and the Node says so."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kneescale.agent.backend import ContextLosses
from kneescale.agent.cluster_api import Manifest
from kneescale.agent.context_losses import LossWatch
from kneescale.agent.cuda_mps import CudaMpsBackend
from kneescale.agent.emulated import EmulatedBackend
from kneescale.mps.status import DaemonState, DaemonStatus, status_path, write_status
from tests.agent.builders import NODE
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.agent.fake_gpu_library import A100, FakeGpuLibrary, gpu, looked_at

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class RestartedHost:
    """Counts how often its workers were restarted: those born before a time, so only a later time counts."""

    def __init__(self) -> None:
        self.restarts = 0
        self.born_before_ns = 0

    def restart_workers(self, born_before_ns: int) -> None:
        self.restarts += born_before_ns > self.born_before_ns
        self.born_before_ns = max(self.born_before_ns, born_before_ns)


@pytest.fixture
def hosts() -> Mapping[str, RestartedHost]:
    return {"gpu0": RestartedHost(), "gpu1": RestartedHost()}


def test_a_loss_restarts_the_workers_of_its_device_once(
    tmp_path: Path, hosts: Mapping[str, RestartedHost]
) -> None:
    api, faults = FakeClusterApi(), tmp_path / "emulated-faults.json"
    watch = LossWatch(api, NODE, EmulatedBackend(NODE, 2, "V100-SXM2-16GB", tmp_path), hosts)
    watch.look(NOON)
    faults.write_text('{"gpu1": "contexts-lost"}')
    watch.look(NOON)
    watch.look(NOON)
    assert (hosts["gpu0"].restarts, hosts["gpu1"].restarts) == (0, 1)
    (event,) = api.events
    assert (event["type"], event["reason"], event["regarding"]["kind"]) == ("Warning", "ContextsLost", "Node")
    assert "device gpu1 lost their GPU contexts and are restarted: contexts-lost in" in event["note"]
    faults.unlink()
    watch.look(NOON)
    assert hosts["gpu1"].restarts == 1


def test_all_devices_are_restarted_before_anybody_is_told(
    tmp_path: Path, hosts: Mapping[str, RestartedHost]
) -> None:
    restarts_when_told = []

    class SlowApi(FakeClusterApi):
        def get_node(self, name: str) -> Manifest:
            restarts_when_told.append([host.restarts for host in hosts.values()])
            return super().get_node(name)

    watch = LossWatch(SlowApi(), NODE, EmulatedBackend(NODE, 2, "V100-SXM2-16GB", tmp_path), hosts)
    watch.look(NOON)
    (tmp_path / "emulated-faults.json").write_text('{"gpu0": "contexts-lost", "gpu1": "contexts-lost"}')
    watch.look(NOON)
    assert restarts_when_told == [[1, 1], [1, 1]]


def test_the_event_tells_what_the_daemon_said(tmp_path: Path) -> None:
    api, host = FakeClusterApi(), RestartedHost()
    backend = CudaMpsBackend(looked_at(FakeGpuLibrary(gpu())), tmp_path, 65532, None)
    path = status_path(tmp_path, A100)
    path.parent.mkdir(parents=True)
    _write(path, losses=3, line="before the agent", lost_ns=5)
    watch = LossWatch(api, NODE, backend, {"gpu-aaaaaaaa": host})
    watch.look(NOON)
    assert (host.restarts, host.born_before_ns) == (1, 5), "those that are left of then"
    assert api.events == [], "which is over"
    _write(path, losses=4, line="Server 7 is in state FAULT", lost_ns=6)
    watch.look(NOON)
    assert (host.restarts, host.born_before_ns) == (2, 6)
    assert api.events[0]["note"].endswith("restarted: Server 7 is in state FAULT")


def test_a_loss_before_the_node_started_restarts_nobody(tmp_path: Path) -> None:
    host = RestartedHost()
    backend = CudaMpsBackend(looked_at(FakeGpuLibrary(gpu())), tmp_path, 65532, None)
    path = status_path(tmp_path, A100)
    path.parent.mkdir(parents=True)
    _write(path, losses=3, line="by another clock", lost_ns=2**62)
    LossWatch(FakeClusterApi(), NODE, backend, {"gpu-aaaaaaaa": host}).look(NOON)
    assert host.restarts == 0


def test_the_host_of_a_device_that_is_back_is_told_whose_contexts_are_lost(tmp_path: Path) -> None:
    backend = CudaMpsBackend(looked_at(FakeGpuLibrary(gpu())), tmp_path, 65532, None)
    hosts = {"gpu-aaaaaaaa": RestartedHost()}
    path = status_path(tmp_path, A100)
    path.parent.mkdir(parents=True)
    _write(path, losses=3, line="a fault", lost_ns=5)
    watch = LossWatch(FakeClusterApi(), NODE, backend, hosts)
    watch.look(NOON)
    hosts["gpu-aaaaaaaa"] = RestartedHost()
    watch.look(NOON)
    assert hosts["gpu-aaaaaaaa"].born_before_ns == 5


class CountingBackend(EmulatedBackend):
    """Has lost contexts as often as `counts` says, by device."""

    def __init__(self, folder: Path) -> None:
        super().__init__(NODE, 2, "V100-SXM2-16GB", folder)
        self.counts: dict[str, int] = {}

    def context_losses(self) -> Mapping[str, ContextLosses]:
        return {name: ContextLosses(count, "a fault") for name, count in self.counts.items()}


@pytest.mark.parametrize(
    ("counts", "restarts"),
    [
        ((3, 3), 0),
        ((3, 4, 4), 1),
        # The daemon's count began anew.
        ((3, 0, 1), 1),
    ],
)
def test_what_was_lost_before_a_device_came_restarts_nobody(
    tmp_path: Path, hosts: Mapping[str, RestartedHost], counts: tuple[int, ...], restarts: int
) -> None:
    backend = CountingBackend(tmp_path)
    watch = LossWatch(FakeClusterApi(), NODE, backend, hosts)
    watch.look(NOON)
    for backend.counts["gpu0"] in counts:
        watch.look(NOON)
    assert hosts["gpu0"].restarts == restarts


def test_a_loss_is_told_once_there_is_a_host_to_tell(tmp_path: Path) -> None:
    host, backend = RestartedHost(), CountingBackend(tmp_path)
    hosts: dict[str, RestartedHost] = {}
    backend.counts["gpu0"] = 0
    watch = LossWatch(FakeClusterApi(), NODE, backend, hosts)
    backend.counts["gpu0"] = 1
    watch.look(NOON)
    hosts["gpu0"] = host
    watch.look(NOON)
    watch.look(NOON)
    assert host.restarts == 1


def test_a_daemons_file_that_cannot_be_read_restarts_nobody(tmp_path: Path) -> None:
    host = RestartedHost()
    path = status_path(tmp_path, A100)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    watch = LossWatch(
        FakeClusterApi(),
        NODE,
        CudaMpsBackend(looked_at(FakeGpuLibrary(gpu())), tmp_path, 65532, None),
        {"gpu-aaaaaaaa": host},
    )
    watch.look(NOON)
    assert host.restarts == 0


def _write(path: Path, *, losses: int, line: str, lost_ns: int) -> None:
    since = "2026-01-01T12:00:00Z"
    write_status(path, DaemonStatus(DaemonState.FAULTED, since, losses=losses, line=line, lost_ns=lost_ns))
