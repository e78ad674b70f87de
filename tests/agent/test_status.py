"""What the API server is told: the plan, what was measured, and what is wrong."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kneescale.agent.claims import parse_allocated_claim
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.emulated import EmulatedBackend
from kneescale.agent.node_state import NodeState
from kneescale.agent.status import AreaMeter, StatusReporter
from kneescale.agent.trace import Tenant, Trace
from kneescale.api.codec import decode
from kneescale.api.gpu_schedule import GPUScheduleStatus
from kneescale.core.dispatching.dispatcher import Timing
from kneescale.core.units import NS_PER_S
from kneescale.core.wire import Grant, Measured, Progress, Role
from tests.agent.builders import NODE, allocated_claim, claim_uid, partition, schedule
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.agent.fake_worker import FakeWorker
from tests.agent.leaving_hosts import LeavingHosts
from tests.waiting import wait_until

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCHEDULE = schedule([partition("a"), partition("b", role="Profile", model="vad", surface=[])])


class Node:
    """A state, a running host and a reporter over a fake API server."""

    def __init__(self, host: DispatcherHost, path: Path) -> None:
        self.api = FakeClusterApi()
        self.path = path
        self.host = host
        hosts = {"gpu0": host}
        backend = EmulatedBackend(NODE, 1, "V100-SXM2-16GB", path)
        self.state = NodeState(hosts, path / "checkpoint.json", backend.devices)
        self.reporter = StatusReporter(self.api, self.state, hosts)
        self.apply(SCHEDULE)
        for name in ("a", "b"):
            self.state.add_claim(parse_allocated_claim(allocated_claim(name), NODE))

    def apply(self, manifest: dict[str, Any]) -> None:
        self.api.set_schedule(manifest)
        self.state.set_schedules(list(self.api.schedules.values()))

    def worker(self, name: str = "a") -> FakeWorker:
        return FakeWorker(self.path / f"{claim_uid(name)}.sock")

    def told(self, seconds: int) -> dict[str, Any]:
        """The status told at that time; fails when there is none."""
        before = len(self.api.statuses)
        self.reporter.report(seconds * NS_PER_S, NOON + timedelta(seconds=seconds))
        assert len(self.api.statuses) == before + 1
        return dict(self.api.statuses[-1][1])


@pytest.fixture
def node(start_host: Callable[[], DispatcherHost], short_dir: Path) -> Node:
    return Node(start_host(), short_dir)


def test_a_new_schedule_is_applied_and_waits_for_workers(node: Node) -> None:
    status = node.told(1)
    assert status["summary"] == "lite0 50%x8, vad profiling"
    assert (status["areaPlannedPermille"], status["areaUsedPermille"]) == (200, 0)
    assert [p["state"] for p in status["partitions"]] == ["Waiting", "Waiting"]
    assert [
        (condition["type"], condition["status"], condition["observedGeneration"])
        for condition in status["conditions"]
    ] == [("Applied", "True", 1), ("WorkersKeepTime", "True", 1)]
    decode(GPUScheduleStatus, status, "status")


def test_what_a_worker_measured_is_told(node: Node) -> None:
    with node.worker() as worker:
        worker.hello()
        worker.send(Measured(30_000, 156, 155, 150, 1, 4_200, 9_001))
        wait_until(lambda: node.host.views()[0].measured is not None, "the measurement")
        first = node.told(1)["partitions"][0]
        worker.close()
        wait_until(lambda: not node.host.views()[0].connected, "the worker to leave")
    assert first == {
        "name": "a",
        "state": "Serving",
        "requestsPerSecond": "5.2",
        "requests": 156,
        "answered": 155,
        "withinSLO": 150,
        "failed": 1,
        "p50Milliseconds": 5,
        "p99Milliseconds": 10,
        "windowSeconds": 30,
        "overruns": 0,
    }
    assert node.told(3)["partitions"][0]["state"] == "Gone"


def test_how_far_a_profile_is_is_told_and_no_surer_than_it_is(node: Node) -> None:
    with node.worker("b") as worker:
        worker.hello(Role.PROFILE)
        worker.send(Progress(measured=5, runs=40, error_permille=111))
        wait_until(lambda: node.host.views()[1].progress is not None, "the progress")
        profiling, serving = node.told(1)["partitions"][1], node.told(20)["partitions"][0]
    assert profiling["profiling"] == {"measured": 5, "runs": 40, "errorPercent": 12}
    assert "profiling" not in serving


def test_without_answers_no_latency_is_told(node: Node) -> None:
    with node.worker() as worker:
        worker.hello()
        worker.send(Measured(30_000, 0, 0, 0, 0, 0, 0))
        wait_until(lambda: node.host.views()[0].measured is not None, "the measurement")
        first = node.told(1)["partitions"][0]
    assert first["requests"] == 0
    assert not {"p50Milliseconds", "p99Milliseconds"} & first.keys()


def test_who_hangs_and_who_overruns_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_until(lambda: len(node.host.views()) == 2, "the dispatcher to know the schedule")
    first, second = node.host.views()
    late = replace(first, seen=True, timing=Timing(7, is_unpunctual=True, latency_ratio=1.25))
    hung = replace(second, hung=True)
    monkeypatch.setattr(node.host, "views", lambda: (late, hung))
    status = node.told(1)
    condition = status["conditions"][1]
    assert (condition["type"], condition["status"]) == ("WorkersKeepTime", "False")
    assert condition["reason"] == "Hung"
    assert "a batch of b never ended" in condition["message"]
    assert "batches of a take much longer than planned" in condition["message"]
    (of_late, of_hung) = status["partitions"]
    assert (of_late["overruns"], of_late["latencyRatioPermille"]) == (7, 1250)
    assert of_hung["state"] == "Hung"
    assert "latencyRatioPermille" not in of_hung
    decode(GPUScheduleStatus, status, "status")


def test_nothing_new_is_told_every_ten_seconds_only(node: Node) -> None:
    node.told(1)
    node.reporter.report(3 * NS_PER_S, NOON)
    node.reporter.report(10 * NS_PER_S, NOON)
    assert len(node.api.statuses) == 1
    node.told(11)


def test_a_bad_schedule_says_so_and_since_when(node: Node) -> None:
    since = node.told(1)["conditions"][0]["lastTransitionTime"]
    node.apply({**SCHEDULE, "spec": {**SCHEDULE["spec"], "device": "gpu9"}})
    bad, _ = node.told(3)["conditions"]
    assert (bad["status"], bad["reason"]) == ("False", "Invalid")
    assert "no device gpu9" in bad["message"]
    node.apply({**SCHEDULE, "spec": {**SCHEDULE["spec"], "policy": "Fastest"}})
    worse, _ = node.told(5)["conditions"]
    assert worse["lastTransitionTime"] == bad["lastTransitionTime"] > since
    assert worse["observedGeneration"] == 3


def test_an_api_server_that_is_away_is_told_later(node: Node) -> None:
    node.api.away = True
    node.reporter.report(NS_PER_S, NOON)
    node.api.away = False
    node.told(2)


def test_a_status_that_the_api_server_rejects_silences_no_other(node: Node) -> None:
    node.apply(schedule([], device="gpu1"))
    node.api.rejected.add("node1-gpu0")
    node.reporter.report(NS_PER_S, NOON)
    assert [name for name, _ in node.api.statuses] == ["node1-gpu1"]


def test_an_api_server_that_is_away_is_asked_once_a_round(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    node.apply(schedule([], device="gpu1"))
    node.api.away = True
    caplog.clear()
    node.reporter.report(NS_PER_S, NOON)
    assert [record.getMessage() for record in caplog.records] == [
        "the status of GPUSchedule node1-gpu0 is not told: the API server is away"
    ]


def test_a_schedule_that_was_deleted_meanwhile_is_no_trouble(node: Node) -> None:
    node.api.delete_schedule("node1-gpu0")
    node.reporter.report(NS_PER_S, NOON)
    assert node.api.statuses == []


def test_a_device_that_goes_meanwhile_is_no_trouble(node: Node) -> None:
    StatusReporter(node.api, node.state, LeavingHosts(node.host)).report(NS_PER_S, NOON)
    ((_, status),) = node.api.statuses
    assert [p["state"] for p in status["partitions"]] == ["Waiting", "Waiting"]


def test_the_area_is_that_of_the_last_ten_seconds() -> None:
    trace = Trace()
    meter = AreaMeter(trace)
    assert meter.used_permille(0) == 0
    trace.granted(Tenant("a", "shop", "lite0"), Grant(1, 50, 8, 0), 0)
    assert meter.used_permille(4 * NS_PER_S) == 500
    trace.ended(1, 0, 5 * NS_PER_S, 5 * NS_PER_S)
    assert meter.used_permille(10 * NS_PER_S) == 250
    assert meter.used_permille(20 * NS_PER_S) == 0


def test_a_schedule_that_cannot_be_saved_says_so_until_it_is(node: Node) -> None:
    node.told(1)
    (node.path / "checkpoint.json").rename(node.path / "kept")
    # A folder in the file's place: nothing can be moved there.
    (node.path / "checkpoint.json").mkdir()
    node.apply({**SCHEDULE, "spec": {**SCHEDULE["spec"], "partitions": []}})
    condition, _ = node.told(3)["conditions"]
    assert (condition["status"], condition["reason"]) == ("True", "AppliedNotSaved")
    assert "free space on the node's disk" in condition["message"]
    (node.path / "checkpoint.json").rmdir()
    condition, _ = node.told(5)["conditions"]
    assert condition["reason"] == "Applied"
