"""What /metrics, /healthz and /trace show."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Thread, active_count
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kneescale.agent import http_server
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.emulated import EmulatedBackend
from kneescale.agent.http_server import Pages, make_server
from kneescale.agent.metrics import make_registry
from kneescale.agent.node_state import NodeState
from kneescale.agent.trace import Tenant
from kneescale.core.units import NS_PER_S
from kneescale.core.wire import Grant
from tests.agent.builders import NODE
from tests.agent.leaving_hosts import LeavingHosts
from tests.waiting import wait_until

TENANT = Tenant("lite0-1", "shop", "lite0")


class Served:
    """A server over one host that is not running, whose trace the tests fill."""

    def __init__(self, path: Path) -> None:
        backend = EmulatedBackend(NODE, 1, "V100-SXM2-16GB", path)
        self.host = DispatcherHost("gpu0", lambda uid: path / uid, 0)
        hosts = {"gpu0": self.host}
        self.problems: list[str] = []
        registry = make_registry(backend, NodeState(hosts, path / "checkpoint.json", backend.devices), hosts)
        self.pages = Pages(NODE, backend, hosts, registry, lambda: self.problems)
        self.server = make_server(0, self.pages)
        self.thread = Thread(target=self.server.serve_forever, args=(0.01,))

    def get(self, path: str) -> str:
        with urlopen(f"http://127.0.0.1:{self.server.server_address[1]}{path}", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def connect(self) -> socket.socket:
        """A connection that asks nothing."""
        return socket.create_connection(("127.0.0.1", self.server.server_address[1]), 10)

    def grant(self, grant_id: int, ended_ns: int) -> None:
        start_ns = ended_ns - NS_PER_S
        self.host.trace.granted(TENANT, Grant(grant_id, 40, 8, ended_ns), start_ns)
        self.host.trace.ended(grant_id, start_ns, ended_ns, ended_ns)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    served.thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    served.thread.join(10)
    served.host.stop()
    served.host.run()


def test_metrics_count_grants_and_refusals_and_say_emulated(served: Served) -> None:
    for grant_id in range(3):
        served.grant(grant_id, time.monotonic_ns())
    served.host.trace.refused(TENANT, 5)
    families = {family.name: family for family in text_string_to_metric_families(served.get("/metrics"))}
    (grants,) = families["kneescale_grants"].samples
    assert (grants.value, grants.labels["partition"], grants.labels["backend"]) == (3, "lite0-1", "emulated")
    (seconds,) = families["kneescale_granted_gpu_seconds"].samples
    assert seconds.value == pytest.approx(1.2)
    (used,) = families["kneescale_used_gpu_seconds"].samples
    assert used.value == pytest.approx(1.2)
    (refused,) = families["kneescale_refused_items"].samples
    assert (refused.value, refused.labels["namespace"], refused.labels["model"]) == (5, "shop", "lite0")
    (over,) = families["kneescale_overcommitted"].samples
    assert over.value == 0


def test_a_sick_device_is_not_healthy_in_the_metrics(served: Served, tmp_path: Path) -> None:
    healthy = 'kneescale_device_healthy{backend="emulated",device="gpu0"}'
    assert f"{healthy} 1.0" in served.get("/metrics")
    (tmp_path / "emulated-faults.json").write_text('{"gpu0": "XidError"}')
    assert f"{healthy} 0.0" in served.get("/metrics")


def test_a_node_of_which_no_device_can_be_used_says_so_in_the_metrics(served: Served, tmp_path: Path) -> None:
    ready = 'kneescale_node_ready{backend="emulated"}'
    assert f"{ready} 1.0" in served.get("/metrics")
    (tmp_path / "emulated-faults.json").write_text('{"gpu0": "removed"}')
    page = served.get("/metrics")
    assert f"{ready} 0.0" in page
    assert 'kneescale_node_troubles{backend="emulated",reason="GpuRemoved"} 1.0' in page
    assert "kneescale_device_healthy{" not in page


def test_the_trace_is_one_document_of_the_last_seconds(served: Served) -> None:
    now_ns = time.monotonic_ns()
    served.grant(0, now_ns - 100 * NS_PER_S)
    for grant_id in range(1, 451):
        served.grant(grant_id, now_ns)
    document = json.loads(served.get("/trace?seconds=50"))
    assert (document["node"], document["backend"]) == (NODE, "emulated")
    assert document["now_ns"] >= now_ns
    (device,) = document["devices"]
    assert (device["name"], device["uuid"], device["overcommitted"]) == ("gpu0", "EMU-node1-0", 0)
    assert device["waiting"] == {"reason": "nothing is queued", "until_ns": None, "partition": None}
    assert len(device["grants"]) == 450
    assert device["grants"][0] == {
        "partition": "lite0-1",
        "model": "lite0",
        "gpu_percent": 40,
        "batch": 8,
        "granted_ns": now_ns - NS_PER_S,
        "started_ns": now_ns - NS_PER_S,
        "ended_ns": now_ns,
        "heard_ns": now_ns,
    }


def test_a_device_that_goes_while_the_trace_is_asked_for_is_no_trouble(served: Served) -> None:
    pages = replace(served.pages, hosts=LeavingHosts(served.host))
    document = json.loads("".join(pages.trace(60, time.monotonic_ns())))
    assert [device["name"] for device in document["devices"]] == ["gpu0"]


def test_idle_connections_are_hung_up_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server._Handler, "timeout", http_server._Handler.timeout / 1000)
    with served.connect() as idle:
        assert idle.recv(1) == b""


def test_the_oldest_connection_gives_way_and_whoever_comes_is_answered(served: Served) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(served.connect()) for _ in range(100)]
        assert served.get("/healthz") == "ok"
        assert idle[0].recv(1) == b""
        wait_until(lambda: active_count() < 60, "the threads of most to end")
    assert served.get("/healthz") == "ok"


def test_health_names_the_problem(served: Served) -> None:
    assert served.get("/healthz") == "ok"
    served.problems.append("the dispatcher of gpu0 is stuck")
    with pytest.raises(HTTPError, match="503") as caught:
        served.get("/healthz")
    assert caught.value.read() == b"the dispatcher of gpu0 is stuck"
    caught.value.close()


@pytest.mark.parametrize(
    ("path", "status", "hint"),
    [
        ("/trace?seconds=-1", 400, b"above 0, of 8 digits at most, not '-1'"),
        ("/trace?seconds=" + "9" * 5000, 400, b"of 8 digits at most, not '999"),
        ("/trace?seconds=0", 400, b"above 0"),
        ("/", 404, b"/metrics"),
    ],
)
def test_a_wrong_address_says_what_is_right(served: Served, path: str, status: int, hint: bytes) -> None:
    with pytest.raises(HTTPError) as caught:
        served.get(path)
    assert caught.value.code == status
    assert hint in caught.value.read()
    caught.value.close()
