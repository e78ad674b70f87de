"""A worker process, the agent's end of its socket, and clients that know nothing of either."""

import http.client
import json
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import pairwise, product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kneescale.core.units import NS_PER_S
from kneescale.core.wire import Arrived, Done, Grant, Hello, Measured, Probe, Refuse, Role, Terms, encode
from tests.waiting import wait_until
from tests.worker.conftest import StartWorker
from tests.worker.fake_agent import FakeAgent
from tests.worker.oip import TRANSPORTS, InferenceServerException, address, grpc, infer, rest, rows
from tests.worker.process import MODEL, TERMS, Worker, hanging_in

#: A worker that is alone pauses for a quarter of its SLO at the most: here by its share alone.
LONG_SLO_NS = 60 * NS_PER_S
_INPUTS = {"inputs": [{"name": "input", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
#: A model whose batches take far longer than what a busy machine adds to them: 58 ms, eight items on a tenth
#: of the GPU 99 ms.
_SLOW = {"KNEESCALE_MODEL_URI": "catalog://densenet201"}
_FAULTY_MODEL = (str(Path(__file__).with_name("faulty_model.py")),)


@TRANSPORTS
def test_each_request_gets_its_own_rows_back(library: ModuleType, start_worker: StartWorker) -> None:
    worker = start_worker(env=_SLOW)
    worker.wait_ready()
    url = address(library, worker)
    with FakeAgent(worker.socket, TERMS, generous=True) as agent, ThreadPoolExecutor(8) as pool:
        worker.wait_connected()
        answers = list(pool.map(lambda i: infer(library, url, rows(1, i)), range(30)))
        assert all(np.array_equal(answer, rows(1, i)) for i, answer in enumerate(answers))
        assert max(grant.batch for grant in agent.granted) > 1, "several share a batch"


@TRANSPORTS
def test_a_request_larger_than_a_batch_is_split(library: ModuleType, worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS, generous=True) as agent:
        worker.wait_connected()
        assert np.array_equal(infer(library, address(library, worker), rows(10)), rows(10))
        assert [arrived.count for arrived in agent.received(Arrived)] == [10]
        assert [grant.batch for grant in agent.granted] == [4, 4, 2]


@TRANSPORTS
def test_health_and_metadata(library: ModuleType, worker: Worker) -> None:
    client = library.InferenceServerClient(address(library, worker))
    as_json = {"as_json": True} if library is grpc else {}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    server = client.get_server_metadata(**as_json)
    assert (server["name"], server["extensions"]) == ("kneescale", ["binary_tensor_data"])
    model = client.get_model_metadata(MODEL, **as_json)
    assert (model["name"], model["versions"], model["platform"]) == (MODEL, ["1"], "emulated")
    assert [tensor["name"] for tensor in model["inputs"] + model["outputs"]] == ["input", "output"]
    assert [int(size) for size in model["inputs"][0]["shape"]] == [-1, 4]
    client.close()


def test_an_answer_says_that_it_is_emulated(worker: Worker) -> None:
    body = json.dumps({"id": "7", **_INPUTS}).encode()
    status, text = worker.post(f"/v2/models/{MODEL}/infer", body)
    answer = json.loads(text)
    assert (status, answer["id"], answer["parameters"]) == (200, "7", {"emulated": True})
    assert answer["outputs"] == [
        {"name": "output", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    ]


def test_lists_go_back_where_lists_were_asked_for(worker: Worker) -> None:
    tensor = rest.InferInput("input", [2, 4], "FP32")
    tensor.set_data_from_numpy(rows(2), binary_data=False)
    wanted = rest.InferRequestedOutput("output", binary_data=False)
    client = rest.InferenceServerClient(worker.http)
    response = client.infer(MODEL, [tensor], outputs=[wanted])
    assert "data" in response.get_response()["outputs"][0]
    assert np.array_equal(response.as_numpy("output"), rows(2))
    client.close()


def test_only_what_is_granted_runs(worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(2) as pool:
        worker.wait_connected()
        first = pool.submit(infer, grpc, worker.grpc, rows(1))
        agent.wait_for(Arrived, 1)
        second = pool.submit(infer, grpc, worker.grpc, rows(1, 9))
        agent.wait_for(Measured, 2)
        assert not first.done()
        assert worker.metrics()["kneescale_worker_batch_items_count"] == 0
        agent.grant(batch=1, gpu_percent=40)
        assert np.array_equal(first.result(), rows(1))
        assert not second.done()
        agent.grant(batch=1, gpu_percent=100)
        assert np.array_equal(second.result(), rows(1, 9))
        done = agent.wait_for(Done, 2)
        assert [message.grant_id for message in done] == [1, 2]
        assert all(message.ended_ns - message.started_ns > 1_000_000 for message in done)


def test_a_grant_without_items_ends_at_once(worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS) as agent:
        agent.wait_for(Hello)
        agent.grant(batch=4, gpu_percent=10)
        [done] = agent.wait_for(Done)
        assert done.started_ns == done.ended_ns


def test_a_batch_that_failed_says_nothing_of_how_long_one_takes(start_worker: StartWorker) -> None:
    worker = start_worker(program=_FAULTY_MODEL)
    worker.wait_ready()
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(1) as pool:
        worker.wait_connected()
        request = pool.submit(infer, grpc, worker.grpc, rows(3))
        agent.wait_for(Arrived)
        agent.grant(batch=3, gpu_percent=40)
        [done] = agent.wait_for(Done)
        assert done.started_ns == done.ended_ns
        with pytest.raises(InferenceServerException, match="the batch of this request failed"):
            request.result()


def test_batches_on_several_lanes_run_at_once(start_worker: StartWorker) -> None:
    worker = start_worker(env=_SLOW)
    worker.wait_ready()
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(1) as pool:
        worker.wait_connected()
        request = pool.submit(infer, grpc, worker.grpc, rows(16))
        agent.wait_for(Arrived)
        # Both in one piece: nothing gets between them.
        finish_by_ns = time.monotonic_ns() + NS_PER_S
        agent.send_bytes(b"".join(encode(Grant(number, 10, 8, finish_by_ns)) for number in (1, 2)))
        first, second = agent.wait_for(Done, 2)
        assert min(first.ended_ns, second.ended_ns) > max(first.started_ns, second.started_ns)
        assert np.array_equal(request.result(), rows(16))


def test_a_batch_that_follows_another_runs_after_it(worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(1) as pool:
        worker.wait_connected()
        request = pool.submit(infer, grpc, worker.grpc, rows(24))
        agent.wait_for(Arrived)
        first = agent.grant(batch=8, gpu_percent=10)
        second = agent.grant(batch=8, gpu_percent=10, follows=first.grant_id)
        agent.grant(batch=8, gpu_percent=10, follows=second.grant_id)
        dones = agent.wait_for(Done, 3)
        assert [done.grant_id for done in dones] == [1, 2, 3]
        assert all(before.ended_ns <= after.started_ns for before, after in pairwise(dones))
        assert np.array_equal(request.result(), rows(24))


def test_what_follows_a_batch_that_has_ended_runs_at_once(worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS) as agent:
        worker.wait_connected()
        first = agent.grant(batch=1, gpu_percent=40)
        agent.wait_for(Done)
        agent.grant(batch=1, gpu_percent=40, follows=first.grant_id)
        agent.wait_for(Done, 2)


def test_a_new_agent_speaks_of_its_own_grants(start_worker: StartWorker) -> None:
    """The batch of an earlier one that has the same number is none that others wait for."""
    worker = start_worker(program=hanging_in("run"))
    worker.wait_ready()
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(1) as pool:
        worker.wait_connected()
        pool.submit(infer, grpc, worker.grpc, rows(1))
        agent.wait_for(Arrived)
        hangs = agent.grant(1, 40)
        agent.hang_up()
        agent.wait_for(Hello, connection=1)
        # Without items there is nothing to run that could hang.
        agent.grant(1, 40, follows=hangs.grant_id)
        agent.wait_for(Done, connection=1)
        worker.kill()


def test_the_agent_hears_what_requests_saw(worker: Worker) -> None:
    terms = Terms(LONG_SLO_NS, batch=4, gpu_percent=40, share_permille=1000)
    with FakeAgent(worker.socket, terms, generous=True) as agent:
        (hello,) = agent.wait_for(Hello)
        assert hello.role == Role.SERVE
        for first in range(3):
            infer(grpc, worker.grpc, rows(2, first))
        seen = len(agent.received(Measured))
        measured = agent.wait_for(Measured, seen + 2)[-1]
        assert (measured.requests, measured.answered, measured.failed) == (3, 3, 0)
        assert measured.within_slo == 3
        assert 0 < measured.p50_us <= measured.p99_us < LONG_SLO_NS // 1000


def test_an_agent_that_comes_back_hears_of_the_whole_queue(worker: Worker) -> None:
    alone = Terms(LONG_SLO_NS, batch=1, gpu_percent=40, share_permille=1)
    agent = FakeAgent(worker.socket, alone)
    with ThreadPoolExecutor(4) as pool:
        agent.start()
        worker.wait_connected()
        requests = [pool.submit(infer, grpc, worker.grpc, rows(2, i)) for i in range(3)]
        announced = agent.wait_for(Arrived, 3)
        agent.stop()
        # One item at a time, and a thousand times as long idle: hardly more than one runs meanwhile.
        wait_until(lambda: worker.metrics()["kneescale_worker_batch_items_sum"] >= 1, "it goes on alone")
        agent.start()
        again = agent.wait_for(Arrived, 3, connection=1)
        assert [message.arrived_ns for message in again] == [message.arrived_ns for message in announced]
        assert sum(message.count for message in again) == 5
        agent.grant(batch=5, gpu_percent=100)
        assert all(np.array_equal(request.result(), rows(2, i)) for i, request in enumerate(requests))
        agent.stop()


def busy_lanes_alone(
    worker: Worker,
    share_permille: int,
    batches: int,
    *,
    slo_ns: int = LONG_SLO_NS,
    silent_agent: bool = False,
) -> float:
    """How many lanes were busy in the mean, while it answered so many batches without grants."""
    worker.wait_ready()
    with FakeAgent(worker.socket, Terms(slo_ns, 4, gpu_percent=10, share_permille=share_permille)):
        worker.wait_connected()
    with ExitStack() as stack:
        if silent_agent:
            stack.enter_context(FakeAgent(worker.socket, terms=None)).wait_for(Hello)
        assert np.array_equal(infer(grpc, worker.grpc, rows(4 * batches)), rows(4 * batches))
    metrics = worker.metrics()
    assert metrics["kneescale_worker_batch_items_count"] == batches
    busy_s: float = metrics["kneescale_worker_batch_seconds_sum"]
    return busy_s / metrics["kneescale_worker_request_seconds_sum"]


def test_without_an_agent_it_answers_at_its_share(start_worker: StartWorker) -> None:
    # Nine times idle between ten batches; the request ends with the tenth.
    assert busy_lanes_alone(start_worker(), share_permille=200, batches=10) < 0.25


def test_without_an_agent_it_does_not_pause_while_requests_have_waited_for_long(
    start_worker: StartWorker,
) -> None:
    # A batch takes 58 ms, and the pause after it 250 ms, but none once the first has passed.
    worker = start_worker(env=_SLOW)
    assert busy_lanes_alone(worker, share_permille=100, batches=12, slo_ns=NS_PER_S) > 0.4


@pytest.mark.parametrize("silent_agent", [False, True])
def test_without_an_agent_it_answers_on_as_many_lanes_as_its_share_fills(
    silent_agent: bool, start_worker: StartWorker
) -> None:
    # Four batches at a time; some time goes by between them.
    worker = start_worker(env=_SLOW)
    busy_lanes = busy_lanes_alone(worker, 4000, batches=24, silent_agent=silent_agent)
    assert 2 < busy_lanes <= 4


def test_an_agent_that_says_nothing_is_none(worker: Worker) -> None:
    with FakeAgent(worker.socket, terms=None) as agent:
        agent.wait_for(Hello)
        assert np.array_equal(infer(grpc, worker.grpc, rows(1)), rows(1))
        assert not agent.received(Arrived)


def test_bytes_that_are_no_message_end_the_connection(worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS, generous=True) as agent:
        agent.wait_for(Hello)
        agent.send_bytes(b"\xff" * 16)
        agent.wait_for(Hello, connection=1)
        assert np.array_equal(infer(rest, worker.http, rows(1)), rows(1))


@TRANSPORTS
def test_a_full_queue_refuses(library: ModuleType, start_worker: StartWorker) -> None:
    worker = start_worker(env={"KNEESCALE_QUEUE_LIMIT": "3"})
    worker.wait_ready()
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(1) as pool:
        worker.wait_connected()
        waiting = pool.submit(infer, grpc, worker.grpc, rows(2))
        agent.wait_for(Arrived)
        with pytest.raises(InferenceServerException, match="2 items wait; 2 more would pass") as refused:
            infer(library, address(library, worker), rows(2))
        assert refused.value.status() in ("503", "StatusCode.RESOURCE_EXHAUSTED")
        agent.grant(2, 100)
        assert np.array_equal(waiting.result(), rows(2))
        seen = len(agent.received(Measured))
        measured = agent.wait_for(Measured, seen + 2)[-1]
        assert (measured.requests, measured.answered, measured.failed) == (2, 1, 1)


@TRANSPORTS
def test_what_the_agent_refuses_is_answered_at_once_and_the_rest_runs(
    library: ModuleType, worker: Worker
) -> None:
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(2) as pool:
        worker.wait_connected()
        late = pool.submit(infer, library, address(library, worker), rows(3))
        agent.wait_for(Arrived, 1)
        in_time = pool.submit(infer, library, address(library, worker), rows(2, 9))
        agent.wait_for(Arrived, 2)
        agent.refuse(2)
        with pytest.raises(InferenceServerException, match="within the SLO of 100 ms") as refused:
            late.result()
        assert refused.value.status() in ("503", "StatusCode.RESOURCE_EXHAUSTED")
        # The item that is left of the refused request counts, but does not run.
        agent.grant(batch=3, gpu_percent=100)
        assert np.array_equal(in_time.result(), rows(2, 9))
        seen = len(agent.received(Measured))
        measured = agent.wait_for(Measured, seen + 2)[-1]
        assert (measured.requests, measured.answered, measured.failed) == (2, 1, 1)
        metrics = worker.metrics()
        assert metrics["kneescale_worker_batch_items_sum"] == 2
        assert metrics['kneescale_worker_requests_total{outcome="refused"}'] == 1


def test_grants_and_refusals_meet_the_queue_in_the_order_in_which_they_were_sent(worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(3) as pool:
        worker.wait_connected()
        requests = []
        for number in range(3):
            requests.append(pool.submit(infer, grpc, worker.grpc, rows(1, number)))
            agent.wait_for(Arrived, number + 1)
        first, last = (Grant(number, 100, 1, time.monotonic_ns()) for number in (1, 2))
        agent.send_bytes(encode(first) + encode(Refuse(1)) + encode(last))
        assert np.array_equal(requests[0].result(), rows(1, 0))
        with pytest.raises(InferenceServerException, match="within the SLO"):
            requests[1].result()
        assert np.array_equal(requests[2].result(), rows(1, 2))


def test_a_refusal_waits_for_no_batch(start_worker: StartWorker) -> None:
    worker = start_worker(env={"KNEESCALE_LANES": "100"}, program=hanging_in("run"))
    worker.wait_ready()
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(2) as pool:
        worker.wait_connected()
        running = pool.submit(infer, grpc, worker.grpc, rows(1))
        agent.wait_for(Arrived, 1)
        late = pool.submit(infer, grpc, worker.grpc, rows(1))
        agent.wait_for(Arrived, 2)
        agent.grant(1, 100)
        agent.refuse(1)
        with pytest.raises(InferenceServerException, match="within the SLO"):
            late.result()
        assert not running.done()
        worker.kill()


def test_a_refusal_over_rest_says_when_to_come_again(worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS) as agent, ThreadPoolExecutor(1) as pool:
        worker.wait_connected()
        answer = pool.submit(_status_and_retry_after, worker)
        agent.wait_for(Arrived)
        agent.refuse(1)
        assert answer.result() == (503, "1")


def _status_and_retry_after(worker: Worker) -> tuple[int, str | None]:
    with closing(http.client.HTTPConnection("127.0.0.1", worker.http_port)) as connection:
        connection.request("POST", f"/v2/models/{MODEL}/infer", json.dumps(_INPUTS))
        response = connection.getresponse()
        assert json.loads(response.read())["error"]
        return response.status, response.headers.get("Retry-After")


def test_a_client_that_sends_slowly_has_its_slo_from_the_last_byte_on(worker: Worker) -> None:
    body = json.dumps(_INPUTS).encode()
    head = f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    address = ("127.0.0.1", worker.http_port)
    with FakeAgent(worker.socket, TERMS) as agent, socket.create_connection(address) as connection:
        worker.wait_connected()
        connection.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 100")
        assert worker.get("/v2/health/live")[0] == 200
        sent_ns = time.monotonic_ns()
        connection.sendall(body)
        [arrived] = agent.wait_for(Arrived)
        assert arrived.arrived_ns >= sent_ns
        agent.grant(1, 100)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


@TRANSPORTS
def test_a_client_that_gives_up_leaves_no_work(library: ModuleType, worker: Worker) -> None:
    with FakeAgent(worker.socket, TERMS) as agent:
        worker.wait_connected()
        give_up = _ask(library, worker)
        agent.wait_for(Arrived)
        give_up()
        name = 'kneescale_worker_requests_total{outcome="abandoned"}'
        wait_until(lambda: worker.metrics()[name] == 1, "the request is abandoned")
        agent.grant(1, 100)
        [done] = agent.wait_for(Done)
        assert done.started_ns == done.ended_ns


def _ask(library: ModuleType, worker: Worker) -> Callable[[], object]:
    """Send a request of one row; what is returned gives it up."""
    if library is rest:
        connection = http.client.HTTPConnection("127.0.0.1", worker.http_port)
        connection.request("POST", f"/v2/models/{MODEL}/infer", json.dumps(_INPUTS))
        return connection.close
    tensor = grpc.InferInput("input", [1, 4], "FP32")
    tensor.set_data_from_numpy(rows(1))
    client = grpc.InferenceServerClient(worker.grpc)
    client.async_infer(MODEL, [tensor], lambda result, error: None)
    give_up: Callable[[], object] = client.close
    return give_up


@TRANSPORTS
def test_wrong_requests_say_what_to_change(library: ModuleType, worker: Worker) -> None:
    url = address(library, worker)
    with pytest.raises(InferenceServerException, match=r"shape \[1, 3\]; the model takes \[-1, 4\]"):
        infer(library, url, np.zeros((1, 3), np.float32))
    with pytest.raises(InferenceServerException, match=r"'alexnet' has no version '2', only 1"):
        infer(library, url, rows(1), model_version="2")
    client = library.InferenceServerClient(url)
    with pytest.raises(InferenceServerException, match=r"no model 'resnet'.*serves 'alexnet'") as unknown:
        client.get_model_metadata("resnet")
    assert unknown.value.status() in ("404", "StatusCode.NOT_FOUND")
    client.close()
    outcomes = 'kneescale_worker_requests_total{outcome="%s"}'
    assert [worker.metrics()[outcomes % name] for name in ("invalid", "failed")] == [2, 0]


def test_wrong_rest_calls_get_the_protocols_error_object(worker: Worker) -> None:
    infer_path = f"/v2/models/{MODEL}/infer"
    too_large = b" " * (64 * 2**20 + 1)
    answers = {
        400: worker.post(infer_path, b"{"),
        404: worker.get("/v2/nothing"),
        405: worker.get(infer_path),
        413: worker.post(infer_path, too_large),
    }
    assert [status for status, _ in answers.values()] == list(answers)
    assert all(json.loads(text)["error"] for _, text in answers.values())
    outcomes = 'kneescale_worker_requests_total{outcome="%s"}'
    assert [worker.metrics()[outcomes % name] for name in ("invalid", "failed")] == [2, 0]


def test_a_body_in_another_encoding_than_its_headers_say_is_invalid(worker: Worker) -> None:
    status, text = worker.post(f"/v2/models/{MODEL}/infer", b"{}", {"Content-Encoding": "gzip"})
    error = "the request's body is not encoded as its headers say"
    assert (status, json.loads(text)) == (400, {"error": error})
    assert worker.metrics()['kneescale_worker_requests_total{outcome="invalid"}'] == 1


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"KNEESCALE_MODEL_URI": "catalog://gpt-9"}, "gpt-9"),
        ({"KNEESCALE_LANES": "0,50"}, "KNEESCALE_LANES"),
        ({"KNEESCALE_MODEL_FORMAT": "TorchScript"}, "TorchScript does not run on backend emulated"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "profile"])
def test_what_cannot_start_says_why(
    command: str, env: dict[str, str], message: str, start_worker: StartWorker
) -> None:
    worker = start_worker(command, env)
    assert worker.wait() == 2
    assert message in worker.message()["error"]
    (line,) = map(json.loads, worker.log().splitlines())
    assert message in line["message"]
    assert (line["model"], line["device"], line["severity"]) == (MODEL, "gpu0", "error")


def test_a_profile_can_be_ended(start_worker: StartWorker) -> None:
    worker = start_worker("profile")
    with FakeAgent(worker.socket, TERMS) as agent:
        agent.wait_for(Probe)
        worker.terminate()
        assert worker.wait() == 128 + signal.SIGTERM


def test_a_small_grid_is_profiled_whole(start_worker: StartWorker) -> None:
    # Batches of 6 to 79 ms, 296 ms for one of each run: it needs a quarter of its time.
    large = {"KNEESCALE_MODEL_URI": "catalog://vgg19", "KNEESCALE_MAX_BATCH": "4"}
    worker = start_worker("profile", {**large, "KNEESCALE_PROFILE_SECONDS": "5"})
    with FakeAgent(worker.socket, TERMS, generous=True) as agent:
        agent.wait_for(Hello)
        agent.hang_up()
        assert worker.wait() == 0
        first, again = agent.received(Hello)
        assert first.role == Role.PROFILE
        assert first == again, "it is the same process"
    points = _latencies_us(worker, "points")
    assert points.keys() == {(lane, batch) for lane in (10, 20, 40, 100) for batch in (1, 2, 4)}
    # The catalog's vgg19, 4 items on 10 GPU%: 78.9 ms; a late wake-up may add to it.
    assert 78_000 < points[10, 4] < 120_000
    assert points[100, 4] < points[10, 4]
    assert "fitted" not in worker.message()


def test_of_a_large_grid_few_runs_are_measured_and_tell_the_rest(start_worker: StartWorker) -> None:
    # Batches of 21 to 61 ms.
    medium = {"KNEESCALE_MODEL_URI": "catalog://resnet50", "KNEESCALE_PROFILE_SECONDS": "10"}
    worker = start_worker("profile", {**medium, "KNEESCALE_LANES": "10,20,30,40,50,60,70,80,90,100"})
    with FakeAgent(worker.socket, TERMS, generous=True) as agent:
        assert worker.wait() == 0
        probed = {(probe.gpu_percent, probe.batch) for probe in agent.received(Probe)}
    measured, fitted = _latencies_us(worker, "points"), _latencies_us(worker, "fitted")
    assert probed == measured.keys()
    assert measured.keys() | fitted.keys() == set(product((10, 20, 30, 40, 50, 60, 80, 100), (1, 2, 4, 8)))
    assert measured.keys().isdisjoint(fitted)


def test_when_its_time_is_up_a_profile_is_what_was_measured_and_a_fit(start_worker: StartWorker) -> None:
    # 58 ms a batch at least, each four times: the dozen runs of this grid would take 3 s.
    slow = {"KNEESCALE_MODEL_URI": "catalog://densenet201", "KNEESCALE_MAX_BATCH": "4"}
    worker = start_worker("profile", {**slow, "KNEESCALE_PROFILE_SECONDS": "1"})
    with FakeAgent(worker.socket, TERMS, generous=True):
        assert worker.wait() == 0
    measured, fitted = _latencies_us(worker, "points"), _latencies_us(worker, "fitted")
    assert 4 <= len(measured) < 12
    assert len(measured) + len(fitted) == 12
    assert worker.message()["expectedErrorPercent"] > 0


def test_a_model_that_fails_in_its_profile_says_at_which_run_and_why(start_worker: StartWorker) -> None:
    worker = start_worker("profile", {"KNEESCALE_LANES": "100", "KNEESCALE_MAX_BATCH": "4"}, _FAULTY_MODEL)
    with FakeAgent(worker.socket, TERMS, generous=True):
        assert worker.wait() == 2
    assert worker.message() == {
        "error": "the model does not run on the lane of 100 GPU%, batch 4: "
        "shape '[2, 4]' is invalid for input of size 16"
    }


def test_a_profile_is_none_the_worse_where_kernels_cannot_be_read(start_worker: StartWorker) -> None:
    worker = start_worker("profile", {"KNEESCALE_LANES": "100", "KNEESCALE_MAX_BATCH": "2"}, _FAULTY_MODEL)
    with FakeAgent(worker.socket, TERMS, generous=True):
        assert worker.wait() == 0
    assert worker.message().keys() == {"points"}
    assert "the model's kernels cannot be read" in worker.log()


def _latencies_us(worker: Worker, kind: str) -> dict[tuple[int, int], int]:
    return {(gpu_percent, batch): latency_us for gpu_percent, batch, latency_us in worker.message()[kind]}
