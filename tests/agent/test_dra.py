"""A kubelet registers the driver over real sockets, and claims come and go, once or many times."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from urllib.request import urlopen

import pytest

from kneescale.agent.agent import Agent
from kneescale.agent.backends import make_backend
from kneescale.agent.proto import dra_v1_pb2 as dra
from tests.agent.agent_process import settings_below
from tests.agent.builders import NODE, allocated_claim, claim_uid, partition, schedule
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.agent.fake_kubelet import FakeKubelet
from tests.agent.fake_worker import FakeWorker
from tests.waiting import wait_until

A = dra.Claim(namespace="default", name="a", uid=claim_uid("a"))
B = dra.Claim(namespace="default", name="b", uid=claim_uid("b"))


class Node:
    """A running agent, its API server and its kubelet."""

    def __init__(self, folder: Path) -> None:
        self.api = FakeClusterApi()
        self.api.claims["default", "a"] = allocated_claim("a")
        self.settings = settings_below(folder)
        self.agent = Agent(self.settings, make_backend(self.settings), self.api)
        self.thread = Thread(target=self.agent.run, daemon=True)
        self.kubelet = FakeKubelet(self.settings.kubelet_dir)

    def specs(self) -> list[Path]:
        """The CDI files that are there."""
        return list(self.settings.cdi_dir.glob("*.json"))

    def folder(self, name: str) -> Path:
        """A claim's folder."""
        return self.settings.claims_dir / claim_uid(name)

    def get(self, path: str) -> str:
        """A page of the agent's HTTP server."""
        with urlopen(f"http://127.0.0.1:{self.agent.http_port}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
        return text


@pytest.fixture
def node(short_dir: Path) -> Iterator[Node]:
    node = Node(short_dir)
    node.thread.start()
    try:
        node.kubelet.register()
        yield node
    finally:
        node.kubelet.close()
        node.agent.stop()
        node.thread.join(60)
    assert not node.settings.registration_socket.exists()


def test_the_kubelet_learns_who_we_are(node: Node) -> None:
    info = node.kubelet.info
    assert (info.type, info.name, list(info.supported_versions)) == (
        "DRAPlugin",
        "gpu.kneescale.dev",
        ["v1.DRAPlugin"],
    )
    assert info.endpoint == str(node.settings.dra_socket)


def test_a_prepared_claim_has_a_device_with_everything_a_worker_needs(node: Node) -> None:
    (device,) = node.kubelet.prepare(A)[A.uid].devices
    assert (device.pool_name, device.device_name, list(device.request_names)) == (NODE, "gpu0", ["gpu"])
    assert list(device.cdi_device_ids) == [f"gpu.kneescale.dev/claim={A.uid}"]
    assert device.share_id
    (path,) = node.specs()
    edits = json.loads(path.read_text())["devices"][0]["containerEdits"]
    assert set(edits["env"]) == {
        "KNEESCALE_SOCKET=/run/kneescale/dispatcher.sock",
        "KNEESCALE_BACKEND=emulated",
        "KNEESCALE_DEVICE=gpu0",
        "KNEESCALE_PRODUCT=V100-SXM2-16GB",
        "KNEESCALE_TIER=green-contexts",
        "KNEESCALE_SM_COUNT=80",
        "KNEESCALE_LANES=10,20,50,100",
        "KNEESCALE_CORES=",
    }
    assert edits["mounts"][0]["hostPath"] == str(node.folder("a"))
    assert node.folder("a").stat().st_uid == os.getuid()


def test_preparing_and_unpreparing_again_changes_nothing(node: Node) -> None:
    assert node.kubelet.prepare(A) == node.kubelet.prepare(A)
    for _ in range(2):
        assert node.kubelet.unprepare(A)[A.uid].error == ""
    assert not node.specs()
    assert not node.folder("a").exists()


def test_many_calls_at_once_prepare_one_claim_once(node: Node) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: node.kubelet.prepare(A), range(16)))
    assert all(answer == answers[0] for answer in answers)
    assert len(node.specs()) == 1
    assert 'kneescale_prepared_claims{backend="emulated"} 1.0' in node.get("/metrics")
    assert 'kneescale_schedules_unsaved{backend="emulated"} 0.0' in node.get("/metrics")


def test_a_claim_that_is_taken_back_while_it_is_prepared_leaves_nothing(node: Node) -> None:
    """The pod is deleted while the API server answers slowly: the kubelet does not wait for the answer."""
    asked, answers = Event(), Event()

    def answer_slowly() -> None:
        asked.set()
        assert answers.wait(10)

    node.api.before_claim = answer_slowly
    with ThreadPoolExecutor(1) as pool:
        prepared = pool.submit(node.kubelet.prepare, A)
        assert asked.wait(10)
        assert node.kubelet.unprepare(A)[A.uid].error == ""
        answers.set()
        assert "taken back" in prepared.result(10)[A.uid].error
    assert not node.specs()
    assert not node.folder("a").exists()
    assert node.kubelet.prepare(A)[A.uid].error == ""


def test_what_is_wrong_with_one_claim_harms_no_other(node: Node) -> None:
    answers = node.kubelet.prepare(A, B)
    assert answers[A.uid].error == ""
    assert answers[B.uid].error == "no claim default/b"
    assert not node.folder("b").exists()


def test_a_claim_of_the_same_name_but_another_uid_is_another(node: Node) -> None:
    stale = dra.Claim(namespace="default", name="a", uid=claim_uid("old"))
    assert "no longer" in node.kubelet.prepare(stale)[stale.uid].error


def test_a_lane_that_the_device_has_not_is_refused(node: Node) -> None:
    node.api.claims["default", "a"] = allocated_claim("a", lanes=[15])
    assert "multiples of 10" in node.kubelet.prepare(A)[A.uid].error
    assert not node.specs()


def test_a_prepared_claim_needs_no_api_server_any_more(node: Node) -> None:
    answer = node.kubelet.prepare(A)
    node.api.away = True
    assert node.kubelet.prepare(A) == answer
    assert "away" in node.kubelet.prepare(B)[B.uid].error
    assert node.kubelet.unprepare(A)[A.uid].error == ""


def test_from_schedule_to_grant_to_trace(node: Node) -> None:
    wait_until(lambda: bool(node.api.slices), "the ResourceSlice")
    wait_until(lambda: node.api.lists > 0, "the first list")
    node.kubelet.prepare(A)
    node.api.set_schedule(schedule([partition("a")]))
    with FakeWorker(node.folder("a") / "dispatcher.sock") as worker:
        worker.hello()
        worker.arrive(8)
        worker.done(worker.next_grant())
        wait_until(lambda: "kneescale_grants_total" in node.get("/metrics"), "the grant in the metrics")
        wait_until(lambda: _states(node.api) == ["Serving"], "the state in the status")
    grants = json.loads(node.get("/trace?seconds=60"))["devices"][0]["grants"]
    assert [(grant["partition"], grant["batch"]) for grant in grants] == [("a", 8)]
    assert node.get("/healthz") == "ok"


def test_a_removed_device_hangs_up_and_serves_again_when_it_is_back(node: Node) -> None:
    faults = node.settings.state_dir / "emulated-faults.json"
    wait_until(lambda: node.api.lists > 0, "the first list")
    node.kubelet.prepare(A)
    node.api.set_schedule(schedule([partition("a")]))
    path = node.folder("a") / "dispatcher.sock"
    with FakeWorker(path) as worker:
        worker.hello()
        faults.write_text('{"gpu0": "removed"}')
        worker.wait_for_hang_up()
    wait_until(lambda: 'device="gpu0"' not in node.get("/metrics"), "the metrics without it")
    assert "no device gpu0" in node.kubelet.prepare(A)[A.uid].error
    assert node.get("/healthz") == "ok"
    for spec in node.specs():
        spec.unlink()
    faults.unlink()
    wait_until(lambda: len(node.specs()) == 1, "the claim's CDI device")
    with FakeWorker(path) as worker:
        worker.hello()
        worker.arrive(8)
        assert worker.next_grant().batch > 0


def test_a_sick_device_is_unhealthy_to_the_kubelet(node: Node) -> None:
    node.settings.state_dir.mkdir(exist_ok=True)
    (node.settings.state_dir / "emulated-faults.json").write_text('{"gpu1": "EccError"}')
    assert node.kubelet.health() == {"gpu0": "", "gpu1": "the device is sick: EccError"}


def test_the_node_gets_its_condition(node: Node) -> None:
    wait_until(lambda: bool(node.api.events), "the Event")
    (condition,) = node.api.node["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("KneescaleGPUsReady", "True")


def _states(api: FakeClusterApi) -> list[str]:
    told = [status for name, status in api.statuses if name == "node1-gpu0"]
    return [p["state"] for p in told[-1]["partitions"]] if told else []
