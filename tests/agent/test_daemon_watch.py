"""A daemon that cannot serve is told of, and soon its GPU is sick; one that is back in a moment is not."""

from pathlib import Path

import pytest

from kneescale.agent.node_condition import readiness
from kneescale.core.units import NS_PER_S
from kneescale.mps.status import DaemonState
from tests.agent.cuda_node import CudaNode
from tests.agent.fake_gpu_library import H100, FakeGpuLibrary, gpu


def test_a_daemon_that_never_came_is_a_trouble_after_a_while(tmp_path: Path) -> None:
    node = CudaNode(FakeGpuLibrary(gpu()), tmp_path)
    node.look(5)
    assert node.troubles == [], "its container may be starting"
    node.look(2)
    assert node.troubles == ["MpsDaemonDown"]
    assert "see the pod of kneescale-mps on this node" in node.backend.troubles()[0].message
    node.daemon_tells(DaemonState.RUNNING)
    assert node.troubles == []


def test_a_daemon_of_which_nothing_is_heard_any_more_is_a_trouble(tmp_path: Path) -> None:
    node = CudaNode(FakeGpuLibrary(gpu()), tmp_path)
    node.look(10)
    node.daemon_tells(DaemonState.RUNNING)
    node.look(6)
    assert node.troubles == []
    node.look()
    assert node.troubles == ["MpsDaemonDown"]
    assert "nothing was heard" in node.backend.troubles()[0].message


def test_a_fault_that_is_not_over_soon_is_a_trouble(tmp_path: Path) -> None:
    node = CudaNode(FakeGpuLibrary(gpu()), tmp_path)
    node.look()
    node.daemon_tells(DaemonState.FAULTED)
    node.look(2)
    assert node.troubles == [], "its workers are being restarted"
    node.look()
    assert node.troubles == ["MpsFaulted"]


def test_a_status_from_before_the_node_started_anew_is_an_old_one(tmp_path: Path) -> None:
    node = CudaNode(FakeGpuLibrary(gpu()), tmp_path)
    node.look(1000)
    node.daemon_tells(DaemonState.RUNNING)
    rebooted = CudaNode(FakeGpuLibrary(gpu()), tmp_path)
    assert rebooted.troubles == [], "its container may be starting"
    rebooted.look(7)
    assert rebooted.troubles == ["MpsDaemonDown"]


@pytest.mark.parametrize(("state", "restarts"), [(DaemonState.DOWN, 0), (DaemonState.STARTING, 1)])
def test_a_daemon_that_is_back_in_a_moment_is_no_trouble(
    tmp_path: Path, state: DaemonState, restarts: int
) -> None:
    node = CudaNode(FakeGpuLibrary(gpu()), tmp_path)
    node.daemon_stays(DaemonState.RUNNING, 1)
    node.daemon_tells(state, restarts)
    assert node.troubles == []
    node.clock.now_ns += 4 * NS_PER_S
    assert node.troubles == []
    node.daemon_tells(DaemonState.RUNNING)
    assert node.troubles == []
    node.daemon_tells(state, restarts)
    assert node.troubles == [], "the time counts anew"
    node.look(2)
    assert node.troubles == ["MpsDaemonDown"]
    assert node.backend.troubles()[0].message.endswith("is down: it says")


def test_a_daemon_that_hangs_at_each_start_is_a_trouble_throughout(tmp_path: Path) -> None:
    node = CudaNode(FakeGpuLibrary(gpu()), tmp_path)
    node.daemon_stays(DaemonState.STARTING, 5)
    node.daemon_tells(DaemonState.DOWN)
    for restarts in range(1, 6):
        node.daemon_stays(DaemonState.STARTING, 5, restarts)
        assert node.troubles == ["MpsDaemonDown"]
        node.daemon_stays(DaemonState.DOWN, 1, restarts)
        assert node.troubles == ["MpsDaemonDown"]
    assert node.sicknesses == ["MpsDaemonDown"]


def test_a_first_start_is_no_trouble_though_its_container_came_late(tmp_path: Path) -> None:
    node = CudaNode(FakeGpuLibrary(gpu()), tmp_path)
    node.look(4)
    node.daemon_tells(DaemonState.STARTING)
    assert node.troubles == []
    node.daemon_stays(DaemonState.STARTING, 5)
    assert node.troubles == ["MpsDaemonDown"], "it hangs"


@pytest.mark.parametrize(
    ("state", "reason"),
    [(DaemonState.MISCONFIGURED, "MpsMisconfigured"), (DaemonState.SERVERLESS, "MpsDaemonDown")],
)
def test_what_is_not_over_by_itself_makes_the_gpu_sick_at_once(
    tmp_path: Path, state: DaemonState, reason: str
) -> None:
    node = CudaNode(FakeGpuLibrary(gpu()), tmp_path)
    node.daemon_tells(state)
    assert (node.troubles, node.sicknesses) == ([reason], [reason])
    node.look(8)
    assert (node.troubles, node.sicknesses) == (["MpsDaemonDown"], ["MpsDaemonDown"]), "also unheard"


@pytest.mark.parametrize(
    ("state", "reason"), [(DaemonState.DOWN, "MpsDaemonDown"), (DaemonState.FAULTED, "MpsFaulted")]
)
def test_what_lasts_makes_the_gpu_sick_until_its_daemon_serves_again(
    tmp_path: Path, state: DaemonState, reason: str
) -> None:
    node = CudaNode(FakeGpuLibrary(gpu()), tmp_path)
    node.daemon_stays(DaemonState.RUNNING, 1)
    node.daemon_stays(state, 18)
    assert (node.troubles, node.sicknesses) == ([reason], [""]), "the next start may help"
    node.look(2)
    assert node.sicknesses == [reason]
    node.daemon_tells(DaemonState.RUNNING)
    assert (node.troubles, node.sicknesses) == ([], [""])


def test_a_gpu_whose_daemon_is_unheard_for_long_is_sick(tmp_path: Path) -> None:
    node = CudaNode(FakeGpuLibrary(gpu()), tmp_path)
    node.look(18)
    assert node.sicknesses == [""]
    node.look()
    assert node.sicknesses == ["MpsDaemonDown"]
    assert node.wanted, "it is to come back"


def test_a_gpu_without_its_daemon_is_not_counted_among_those_that_can_be_used(tmp_path: Path) -> None:
    node = CudaNode(FakeGpuLibrary(gpu(), gpu(H100)), tmp_path)
    node.daemon_stays(DaemonState.DOWN, 2)
    found = readiness("cuda-mps", node.backend.devices(), node.backend.troubles())
    assert (found.ready, found.reason) == (True, "SomeLeftOut")
    assert found.message.startswith("1 of 2 cuda-mps devices can be used; the MPS daemon of GPU")
