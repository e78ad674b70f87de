"""SIGTERM: clients go elsewhere, and no request fails."""

import http.client
import json
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from types import ModuleType

import numpy as np
import pytest

from kneescale.core.wire import Arrived
from tests.waiting import wait_until
from tests.worker.conftest import StartWorker
from tests.worker.fake_agent import FakeAgent
from tests.worker.forwarder import Forwarder
from tests.worker.oip import TRANSPORTS, address, infer, infer_on, rest, rows
from tests.worker.process import MODEL, TERMS, Worker, hanging_in

_CLIENTS = 3
#: A drain that nobody holds up takes two seconds; one that waits for something as much as 27.
_SOON_S = 15.0
#: SIGTERM comes when the worker begins to import what it consists of.
_TERMINATED_WHILE_IT_STARTS = """
import os, runpy, signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "kneescale_worker.main":
            os.kill(os.getpid(), signal.SIGTERM)

sys.meta_path.insert(0, Finder())
runpy.run_module("kneescale_worker", run_name="__main__")
"""


@pytest.fixture
def pair(start_worker: StartWorker) -> tuple[Worker, Worker]:
    """Two ready workers of one model."""
    workers = start_worker(), start_worker()
    for worker in workers:
        worker.wait_ready()
    return workers


def _send_until(stop: threading.Event, library: ModuleType, url: str) -> int:
    """Send requests on one client's kept-alive connection, checking each; how many."""
    sent = 0
    with closing(library.InferenceServerClient(url)) as client:
        while not stop.wait(0.005):
            assert np.array_equal(infer_on(client, library, rows(1, sent)), rows(1, sent))
            sent += 1
    return sent


@TRANSPORTS
def test_a_drain_under_load_loses_no_request(library: ModuleType, pair: tuple[Worker, Worker]) -> None:
    old, new = pair
    ports = [worker.http_port if library is rest else worker.grpc_port for worker in pair]
    stop = threading.Event()
    with ExitStack() as stack:
        for worker in pair:
            stack.enter_context(FakeAgent(worker.socket, TERMS, generous=True))
            worker.wait_connected()
        service = stack.enter_context(Forwarder(ports[0]))
        pool = stack.enter_context(ThreadPoolExecutor(_CLIENTS))
        stack.callback(stop.set)
        clients = [pool.submit(_send_until, stop, library, service.url) for _ in range(_CLIENTS)]
        answered = 'kneescale_worker_requests_total{outcome="answered"}'
        wait_until(lambda: old.metrics()[answered] > 50, "the old worker is under load")
        old.terminate()
        wait_until(lambda: old.get("/v2/health/ready")[0] == 503, "the old worker drains")
        service.target_port = ports[1]
        assert old.wait() == 0
        wait_until(lambda: new.metrics()[answered] > 50, "the new worker is under load")
        stop.set()
        assert sum(client.result() for client in clients) > 100


@TRANSPORTS
def test_what_waits_at_the_end_is_still_answered(library: ModuleType, worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(2) as pool:
        worker.wait_connected()
        before = pool.submit(infer, library, address(library, worker), rows(1, 1))
        agent.wait_for(Arrived)
        worker.terminate()
        wait_until(lambda: worker.get("/v2/health/ready")[0] == 503, "it drains")
        during = pool.submit(infer, library, address(library, worker), rows(1, 2))
        agent.wait_for(Arrived, 2)
        agent.grant(batch=2, gpu_percent=100)
        assert np.array_equal(before.result(), rows(1, 1))
        assert np.array_equal(during.result(), rows(1, 2))
        assert worker.wait() == 0


def test_a_draining_worker_sends_kept_alive_clients_away(worker: Worker) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", worker.http_port)) as connection:
        assert _header_after_infer(connection) is None
        worker.terminate()
        wait_until(lambda: worker.get("/v2/health/ready")[0] == 503, "it drains")
        assert _header_after_infer(connection) == "close"


def _header_after_infer(connection: http.client.HTTPConnection) -> str | None:
    """The header `Connection` of an answer."""
    body = {"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    connection.request("POST", f"/v2/models/{MODEL}/infer", json.dumps(body))
    response = connection.getresponse()
    assert (response.status, bool(response.read())) == (200, True)
    return response.headers.get("Connection")


def test_a_worker_ends_soon_without_load(start_worker: StartWorker) -> None:
    worker = start_worker()
    wait_until(lambda: worker.get("/v2/health/live")[0] == 200, "it is live")
    worker.terminate()
    assert worker.wait(_SOON_S) == 0
    assert "Traceback" not in worker.log()


def test_a_worker_that_still_loads_ends_at_once(start_worker: StartWorker) -> None:
    worker = start_worker(program=hanging_in("load"))
    wait_until(lambda: worker.get("/v2/health/live")[0] == 200, "it is live")
    worker.terminate()
    assert worker.wait(_SOON_S) == 0
    assert "Traceback" not in worker.log()


def test_a_worker_heeds_sigterm_before_it_has_all_its_modules() -> None:
    ended = subprocess.run([sys.executable, "-c", _TERMINATED_WHILE_IT_STARTS], check=False)
    assert ended.returncode == 128 + signal.SIGTERM, "as a container's first process it would have lived on"
