"""A batch that never ends takes its worker with it: the kubelet starts a new one, and clients hear of it."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

from kneescale.core.dispatching.punctuality import LEAST_HUNG_NS
from kneescale.core.units import NS_PER_MS, NS_PER_S
from kneescale.core.wire import Arrived, Grant, Restart
from tests.worker.conftest import StartWorker
from tests.worker.fake_agent import FakeAgent
from tests.worker.oip import InferenceServerException, grpc, infer, rows
from tests.worker.process import TERMS, Worker, hanging_in


def _grant(agent: FakeAgent, batch: int, finish_in_ns: int) -> None:
    agent.send(Grant(1, 40, batch, time.monotonic_ns() + finish_in_ns))


def _expect_the_end(worker: Worker, *, drains: bool = False) -> None:
    """Grant a batch that hangs: the worker ends, and says why, also where it was told to end meanwhile."""
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(1) as pool:
        worker.wait_connected()
        request = pool.submit(infer, grpc, worker.grpc, rows(3))
        agent.wait_for(Arrived)
        began_ns = time.monotonic_ns()
        _grant(agent, 3, 10 * NS_PER_MS)
        if drains:
            worker.terminate()
        assert worker.wait() == 3
        took_ns = time.monotonic_ns() - began_ns
        with pytest.raises(InferenceServerException):
            request.result()
    assert LEAST_HUNG_NS < took_ns < LEAST_HUNG_NS + 8 * NS_PER_S
    assert worker.message() == {
        "error": "a batch of 3 items on the lane of 40 GPU% never ended; the worker starts anew"
    }


def test_a_worker_with_a_batch_that_hangs_ends_and_says_why(start_worker: StartWorker) -> None:
    worker = start_worker(program=hanging_in("run"))
    worker.wait_ready()
    _expect_the_end(worker)


def test_a_batch_that_hangs_is_noticed_while_the_worker_drains(start_worker: StartWorker) -> None:
    worker = start_worker(program=hanging_in("run"))
    worker.wait_ready()
    _expect_the_end(worker, drains=True)
    assert "draining" in worker.log()


def test_a_worker_whose_lane_hangs_in_a_process_of_its_own_ends_likewise(start_worker: StartWorker) -> None:
    worker = start_worker(env={"KNEESCALE_TIER": "mps-processes", "KNEESCALE_LANES": "40,100"})
    worker.wait_ready()
    with ExitStack() as stack:
        for pid in worker.children():
            os.kill(pid, signal.SIGSTOP)
            # In a container it would end with the worker.
            stack.callback(os.kill, pid, signal.SIGKILL)
        _expect_the_end(worker)


def test_a_batch_that_ends_late_is_not_hung(worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS) as agent:
        worker.wait_connected()
        with ThreadPoolExecutor(1) as pool:
            request = pool.submit(infer, grpc, worker.grpc, rows(8))
            agent.wait_for(Arrived)
            # As after a machine that stood still: it should have ended long before it begins.
            _grant(agent, 8, -10 * NS_PER_S)
            assert np.array_equal(request.result(), rows(8))
        assert worker.get("/v2/health/ready")[0] == 200


def test_a_worker_whose_gpu_context_is_lost_ends_and_answers_what_waits(worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(1) as pool:
        worker.wait_connected()
        request = pool.submit(infer, grpc, worker.grpc, rows(2))
        agent.wait_for(Arrived)
        agent.send(Restart())
        with pytest.raises(InferenceServerException):
            request.result()
        assert worker.wait() == 3
    assert worker.message() == {"error": "a fault on the GPU took this worker's context; it is started anew"}
