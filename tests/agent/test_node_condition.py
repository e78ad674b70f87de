"""The Node says whether its GPUs can be used, since when, and what to do; each change is one Event."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kneescale.agent.emulated import EmulatedBackend
from kneescale.agent.node_condition import NodeReporter
from kneescale.core.units import NS_PER_S
from tests.agent.builders import NODE
from tests.agent.cuda_node import CudaNode
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.agent.fake_gpu_library import NOT_LOADED, FakeGpuLibrary, gpu

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Node:
    """A reporter over two emulated GPUs with a file of faults."""

    def __init__(self, folder: Path) -> None:
        self.api = FakeClusterApi()
        self.faults = folder / "emulated-faults.json"
        backend = EmulatedBackend(NODE, 2, "V100-SXM2-16GB", folder)
        self.reporter = NodeReporter(self.api, NODE, backend)

    def told(self, seconds: int) -> dict[str, Any]:
        """The condition after a report at that time."""
        self.reporter.report(seconds * NS_PER_S, NOON + timedelta(seconds=seconds))
        (condition,) = self.api.node["status"]["conditions"]
        return dict(condition)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_all_well(node: Node) -> None:
    condition = node.told(0)
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "KneescaleGPUsReady",
        "True",
        "AllReady",
    )
    assert condition["message"] == "2 of 2 emulated devices can be used"
    (event,) = node.api.events
    assert (event["type"], event["reason"], event["regarding"]["name"]) == ("Normal", "AllReady", NODE)


def test_a_sick_device_is_named_though_others_go_on(node: Node) -> None:
    since = node.told(0)["lastTransitionTime"]
    node.faults.write_text('{"gpu1": "XidError"}')
    condition = node.told(2)
    assert (condition["status"], condition["reason"]) == ("True", "SomeLeftOut")
    assert condition["message"] == "1 of 2 emulated devices can be used; gpu1 is sick (XidError)"
    assert condition["lastTransitionTime"] == since
    assert [event["type"] for event in node.api.events] == ["Normal", "Warning"]


def test_without_a_healthy_device_it_is_false_and_says_since_when(node: Node) -> None:
    node.told(0)
    node.faults.write_text('{"gpu0": "removed", "gpu1": "EccError"}')
    condition = node.told(2)
    assert (condition["status"], condition["reason"]) == ("False", "EccError")
    assert condition["lastTransitionTime"] == "2026-01-01T12:00:02Z"
    node.faults.write_text('{"gpu0": "removed", "gpu1": "removed"}')
    condition = node.told(4)
    assert (condition["status"], condition["reason"]) == ("False", "GpuRemoved")
    assert condition["lastTransitionTime"] == "2026-01-01T12:00:02Z"


def test_a_missing_driver_is_the_reason_with_what_to_do(tmp_path: Path) -> None:
    api, library = FakeClusterApi(), FakeGpuLibrary(gpu())
    library.error = NOT_LOADED
    without_driver = CudaNode(library, tmp_path)
    without_driver.look(2)
    NodeReporter(api, NODE, without_driver.backend).report(0, NOON)
    (condition,) = api.node["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "DriverNotLoaded")
    assert condition["message"].endswith("load the module")


def test_what_is_told_already_is_repeated_once_a_minute_without_an_event(node: Node) -> None:
    first = node.told(0)["lastHeartbeatTime"]
    assert node.told(59)["lastHeartbeatTime"] == first
    assert node.told(60)["lastHeartbeatTime"] > first
    assert len(node.api.events) == 1


def test_a_restarted_agent_posts_no_event_again(node: Node, tmp_path: Path) -> None:
    node.told(0)
    node.reporter = NodeReporter(node.api, NODE, EmulatedBackend(NODE, 2, "V100-SXM2-16GB", tmp_path))
    node.told(2)
    assert len(node.api.events) == 1


def test_an_api_server_that_is_away_is_told_later(node: Node) -> None:
    node.api.away = True
    node.reporter.report(0, NOON)
    assert node.api.node["status"]["conditions"] == []
    node.api.away = False
    assert node.told(2)["status"] == "True"
