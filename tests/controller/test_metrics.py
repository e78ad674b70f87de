"""What the operator's metrics say, as a client gets them."""

from datetime import timedelta
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from kneescale.controller.api_server import ApiError
from kneescale.controller.listing import list_all
from kneescale.controller.loop import Loop
from kneescale.controller.metrics import Metrics, serve
from kneescale.controller.observe import World
from kneescale.controller.resources import WATCHED
from kneescale.plan import plan
from kneescale.plan.state import Desired, EventNote, ObjectRef
from tests.controller.fake_api_server import FakeApiServer
from tests.controller.objects import service
from tests.plan.cluster import emulated_world, model
from tests.plan.cluster_life import settle

RESNET = (("model", "resnet50"), ("namespace", "default"))


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by its name and labels."""
    with urlopen(f"http://127.0.0.1:{serve(metrics, 0)}/metrics", timeout=10) as answer:
        page: str = answer.read().decode()
    families = text_string_to_metric_families(page)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_each_model_shows_what_was_planned_for_it_and_what_it_asks() -> None:
    world = emulated_world()
    slo = {"latencyMilliseconds": 100, "percentile": 95}
    world.create(model("resnet50", slo=slo, scaling={"minReplicas": 2, "maxReplicas": 3}))
    settle(world)
    observed, metrics = world.observe(), Metrics()
    metrics.planned(observed, plan(observed, world.settings), took_s=0.003)
    told = samples(metrics)

    assert told["kneescale_model_desired_replicas", RESNET] == 2
    assert told["kneescale_model_replicas", (*RESNET, ("state", "Serving"))] == 2
    assert told["kneescale_model_replicas", (*RESNET, ("state", "Failed"))] == 0
    assert told["kneescale_model_min_replicas", RESNET] == 2
    assert told["kneescale_model_max_replicas", RESNET] == 3
    assert told["kneescale_model_condition", (("condition", "Ready"), *RESNET)] == 1
    assert told["kneescale_model_condition", (("condition", "SLOMet"), *RESNET)] == 0
    assert told["kneescale_model_slo_seconds", RESNET] == 0.1
    assert told["kneescale_model_slo_target_ratio", RESNET] == 0.95
    assert told["kneescale_model_info", (("backend", "emulated"), *RESNET)] == 1
    status = world.get("InferenceModel", "resnet50")["status"]
    assert told["kneescale_model_planned_gpu_ratio", RESNET] == status["gpuPercent"] / 100
    assert told["kneescale_model_planned_batch_items", RESNET] == status["batch"]
    assert told["kneescale_plan_seconds_bucket", (("le", "0.005"),)] == 1
    assert told["kneescale_plan_seconds_bucket", (("le", "0.002"),)] == 0


def test_what_the_autoscaler_provides_is_told_once_it_knows() -> None:
    world, name = emulated_world(), "kneescale_model_provided_items_per_second"
    world.create(model("resnet50", scaling={"minReplicas": 1, "maxReplicas": 2}))
    settle(world)
    told = []
    for rate_ips in (None, 40.0):
        if rate_ips is not None:
            world.rates["resnet50"] = rate_ips
            world.now += timedelta(seconds=2)
            settle(world)
        observed, metrics = world.observe(), Metrics()
        metrics.planned(observed, plan(observed, world.settings), took_s=0.1)
        told.append(samples(metrics).get((name, RESNET)))
    assert told[0] is None
    assert told[1] is not None
    assert told[1] >= 40


def test_a_model_that_is_gone_is_gone_from_the_metrics() -> None:
    world, metrics = emulated_world(), Metrics()
    world.create(model("resnet50"))
    for removed in (False, True):
        if removed:
            world.remove("InferenceModel", "resnet50")
        observed = world.observe()
        metrics.planned(observed, plan(observed, world.settings), took_s=0.1)
        assert (("kneescale_model_desired_replicas", RESNET) in samples(metrics)) is not removed


async def test_cycles_are_counted_by_what_came_of_them() -> None:
    api, world, metrics = FakeApiServer(), World(WATCHED), Metrics()
    await list_all(api, world)
    regarding = ObjectRef("kneescale.dev/v1alpha1", "InferenceModel", "shop", "vad", "uid")
    note = EventNote(regarding, "Normal", "Accepted", "Plan", "the model is accepted")
    loop = Loop(api, world, lambda _: Desired(apply=(service("vad"),), events=(note,)), "127.0.0.1", metrics)
    await loop.reconcile()
    await loop.reconcile()
    told = samples(metrics)
    assert told["kneescale_reconciles_total", (("result", "applied"),)] == 1
    assert told["kneescale_reconciles_total", (("result", "unchanged"),)] == 1
    applied = (("kind", "Service"), ("result", "done"), ("verb", "apply"))
    assert told["kneescale_writes_total", applied] == 1
    assert told["kneescale_events_total", (("reason", "Accepted"), ("type", "Normal"))] == 2


async def test_a_cycle_that_could_not_write_is_a_failed_one() -> None:
    api, world, metrics = FakeApiServer(), World(WATCHED), Metrics()
    api.fail(lambda request: request.verb == "apply", ApiError(503, "etcd is slow today"), times=1)
    await Loop(api, world, lambda _: Desired(apply=(service("vad"),)), "127.0.0.1", metrics).reconcile()
    told = samples(metrics)
    assert told["kneescale_reconciles_total", (("result", "failed"),)] == 1
    refused = (("kind", "Service"), ("result", "failed"), ("verb", "apply"))
    assert told["kneescale_writes_total", refused] == 1
