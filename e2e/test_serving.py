"""A model that serves: what its clients get, and what an admin sees with kubectl."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

import pytest

from e2e.clients import failures, steady_load
from e2e.cluster.kubectl import Kubectl
from e2e.demo.load import Stream, try_each_sample
from e2e.demo.oip import Endpoint
from e2e.demo.samples import echoes
from e2e.demo.services import forward, reach
from e2e.demo.system import Kneescale
from e2e.demo.trace import overcommitted
from e2e.shop import PRODUCT, STARTED_S, Shop, imported_profile, inference_model, opened
from harness.wait import wait_until
from kneescale.sim.spans import levels

pytestmark = pytest.mark.cluster

MODEL = "resnet18"
SLO_MS = 500
RATE_RPS = 20
#: From a request to its figures in the model's status: the worker's second, the agent's two, the operator's.
TOLD_S = 15.0
ANSWERED = 5 * RATE_RPS

#: How a machine outside the cluster gets at a Service.
Way = Callable[[Kubectl, str, str], AbstractContextManager[Endpoint]]


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop whose one model has served requests just now."""
    with opened(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        slo = {"latencyMilliseconds": SLO_MS, "percentile": 90, "lateRequests": "Serve"}
        model = inference_model("resnet18", slo=slo)
        shop.apply(imported_profile("resnet18"), model)
        shop.wait_for(MODEL, "Ready", "True", STARTED_S)
        with steady_load(shop, MODEL, RATE_RPS) as outcomes:
            wait_until(lambda: len(outcomes) >= ANSWERED, f"{ANSWERED} answers", timeout_s=30)
            wait_until(lambda: "attainmentPercent" in measured(shop), "the load is in the status", TOLD_S)
        assert failures(outcomes) == []
        yield shop


def measured(shop: Shop) -> Mapping[str, object]:
    """What the model's status says of its requests."""
    figures: Mapping[str, object] = shop.status(MODEL).get("measured", {})
    return figures


def table(text: str) -> list[dict[str, str]]:
    """The rows of what kubectl prints, by the heads of their columns."""
    head, *rows = text.splitlines()
    columns = [(match.group().strip(), match.start()) for match in re.finditer(r"\S+(?: \S+)*\s*", head)]
    ends = [start for _, start in columns[1:]] + [None]
    return [
        {name: row[start:end].strip() for (name, start), end in zip(columns, ends, strict=True)}
        for row in rows
    ]


@pytest.mark.parametrize("way", [reach, forward])
def test_rest_and_grpc_answer_through_the_service(shop: Shop, way: Way) -> None:
    with way(shop.kubectl, shop.name, MODEL) as endpoint:
        asyncio.run(try_each_sample(Stream(MODEL, endpoint, echoes(MODEL))))


def test_get_shows_each_models_plan_and_how_it_goes(shop: Shop) -> None:
    (row,) = table(shop.run("get", "inferencemodels"))
    assert "|".join(row) == "NAME|READY|SLO (MS)|GPU%|BATCH|REPLICAS|RATE|P99|ATTAINMENT|AGE"
    status = shop.status(MODEL)
    assert (row["NAME"], row["READY"], row["SLO (MS)"]) == (MODEL, "True", str(SLO_MS))
    assert (row["GPU%"], row["BATCH"]) == (str(status["gpuPercent"]), str(status["batch"]))
    assert row["REPLICAS"] == "1"
    assert 0 < float(row["RATE"]) < 2 * RATE_RPS
    assert status["predictedLatencyMilliseconds"] // 2 < int(row["P99"]) < 10 * SLO_MS
    assert 50 <= float(row["ATTAINMENT"]) <= 100

    (wide,) = table(shop.run("get", "inferencemodels", "--output=wide"))
    assert wide["PROFILE"] == "imported-resnet18"
    assert re.fullmatch("node[12]/gpu[01]", wide["PLACEMENTS"])
    assert wide["REASON"]


def test_describe_shows_conditions_with_numbers_and_an_event_for_each_decision(shop: Shop) -> None:
    told = shop.run("describe", "inferencemodel", MODEL)
    for pattern in (
        rf"Message: +emulated {PRODUCT}: knee at \d+ GPU%",
        r"Message: +on node[12]/gpu[01] at \d+ GPU% with batches of \d+ in [\d.]+ ms",
        r"Message: +1 worker serves",
        rf"Message: +[\d.]+ % of \d+ requests in the last \d+ s were answered within {SLO_MS} ms; 90 % asked",
    ):
        assert re.search(pattern, told), f"{pattern} is not in {told}"
    events = told.partition("Events:")[2]
    for reason in ("Accepted", "Profiled", "Placed", "Serving", "SLOMet"):
        assert re.search(rf"^\s+Normal\s+{reason}\s", events, re.MULTILINE), f"no {reason} in {events}"


def test_gpuschedules_has_a_line_for_each_gpu(shop: Shop) -> None:
    rows = table(shop.run("get", "gpuschedules"))
    gpus = [(row["NODE"], row["DEVICE"]) for row in rows]
    assert gpus == [(node, gpu) for node in ("node1", "node2") for gpu in ("gpu0", "gpu1")]
    status = shop.status(MODEL)
    (row,) = [row for row in rows if MODEL in row["PARTITIONS"]]
    assert row["PARTITIONS"] == f"{MODEL} {status['gpuPercent']}%x{status['batch']}"
    assert int(row["PLANNED"]) > 0
    assert int(row["USED"]) >= 0


def test_modelprofiles_shows_the_knee(shop: Shop) -> None:
    (row,) = table(shop.run("get", "modelprofiles"))
    assert row["MODEL"] == "catalog://resnet18"
    assert row["PRODUCT"] == PRODUCT
    assert row["KNEE"] == str(shop.status(MODEL)["kneePercent"])


def test_a_worker_knows_its_partition_and_no_api_server(shop: Shop) -> None:
    (pod,) = shop.uids("pods")
    code = "import json, os; print(json.dumps([dict(os.environ), os.path.exists('/var/run/secrets')]))"
    env, has_token = json.loads(shop.run("exec", pod, "--", "python", "-c", code))
    assert not has_token
    assert env["KNEESCALE_BACKEND"] == "emulated"
    assert env["KNEESCALE_PRODUCT"] == PRODUCT
    assert env["KNEESCALE_LANES"] == ",".join(str(lane) for lane in range(10, 101, 10))
    assert env["KNEESCALE_SOCKET"] == "/run/kneescale/dispatcher.sock"


def test_a_crowd_shares_the_gpu_and_never_more_than_all_of_it_is_granted(shop: Shop) -> None:
    with steady_load(shop, MODEL, rate_rps=20 * RATE_RPS) as outcomes:
        wait_until(lambda: len(outcomes) >= 20 * ANSWERED, "a crowd is answered", timeout_s=60)
    assert failures(outcomes) == []
    traces = Kneescale(shop.kubectl).traces(seconds=60)
    assert [(trace.node, trace.device) for trace in traces if overcommitted(trace)] == []
    assert max(percent for trace in traces for _, percent in levels(trace.spans)) > 50
