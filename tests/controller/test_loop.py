"""The loop over a fake API server and a fake plan."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kneescale.controller.api_server import ApiError
from kneescale.controller.failures import BACKOFF
from kneescale.controller.listing import list_all, list_all_at_start
from kneescale.controller.loop import Loop, Pace
from kneescale.controller.metrics import Metrics
from kneescale.controller.observe import World
from kneescale.controller.resources import INFERENCE_MODEL, POD, SERVICE, WATCHED, Object
from kneescale.core.errors import KneescaleError
from kneescale.plan.state import Deletion, Desired, EventNote, ObjectRef, Observed
from tests.controller.fake_api_server import FakeApiServer, Request
from tests.controller.objects import gpu_schedule, model, obj, pod, service
from tests.waiting import until

PACE = Pace()
WAIT_S = 1.0
UNAVAILABLE = ApiError(503, "etcd is slow today")
REFUSED = ApiError(422, "spec.ports is wrong")
AWAY = ApiError(None, "the API server does not answer: TimeoutError")


@dataclass(slots=True)
class FakePlan:
    """Wants the same world whatever it sees, and keeps what it saw."""

    desired: Desired = field(default_factory=Desired)
    seen: list[Observed] = field(default_factory=list)

    def __call__(self, observed: Observed) -> Desired:
        self.seen.append(observed)
        return self.desired


def accepted(name: str) -> EventNote:
    regarding = ObjectRef("kneescale.dev/v1alpha1", "InferenceModel", "shop", name, "uid")
    return EventNote(regarding, "Normal", "Accepted", "Plan", "the model is accepted", device="node1/gpu0")


def writes(api: FakeApiServer) -> list[tuple[str, str, str]]:
    return [(r.verb, r.kind, r.name) for r in api.requests if r.verb not in ("list", "get", "create")]


def on(verb: str, name: str) -> Callable[[Request], bool]:
    return lambda request: (request.verb, request.name) == (verb, name)


def loop_of(api: FakeApiServer, world: World, plan: FakePlan, pace: Pace = PACE) -> Loop:
    return Loop(api, world, plan, "127.0.0.1", Metrics(), pace)


@asynccontextmanager
async def running(loop: Loop) -> AsyncIterator[None]:
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def api() -> FakeApiServer:
    return FakeApiServer()


@pytest.fixture
def world() -> World:
    return World(WATCHED)


async def test_a_cycle_writes_the_difference_and_the_next_nothing(api: FakeApiServer, world: World) -> None:
    api.seed(model("vad"))
    await list_all(api, world)
    wanted = Desired(apply=(service("vad"), pod("vad")), status=(model("vad", status={"replicas": 1}),))
    loop = loop_of(api, world, FakePlan(wanted))
    await loop.reconcile()
    assert writes(api) == [
        ("apply", "Service", "vad"),
        ("apply", "Pod", "vad-0a"),
        ("apply status", "InferenceModel", "vad"),
    ]
    await loop.reconcile()
    assert len(writes(api)) == 3


async def test_a_deletion_gives_the_object_the_time_that_the_plan_says(
    api: FakeApiServer, world: World
) -> None:
    api.seed(pod("vad"))
    await list_all(api, world)
    seeded = api.find(POD, "vad-0a", "shop")
    assert seeded is not None
    uid = seeded["metadata"]["uid"]
    deletion = Deletion(ObjectRef("v1", "Pod", "shop", "vad-0a", uid), grace_s=1)
    await loop_of(api, world, FakePlan(Desired(delete=(deletion,)))).reconcile()
    assert writes(api) == [("delete", "Pod", "vad-0a")]
    assert api.graces_s == [1]


async def test_a_long_plan_holds_nothing_else_up(api: FakeApiServer, world: World) -> None:
    events, went_on = asyncio.get_running_loop(), threading.Event()

    def plan(_: Observed) -> Desired:
        events.call_soon_threadsafe(went_on.set)
        assert went_on.wait(WAIT_S)
        return Desired(apply=(service("vad"),))

    await Loop(api, world, plan, "127.0.0.1", Metrics()).reconcile()
    assert writes(api) == [("apply", "Service", "vad")]


async def test_the_plan_gets_the_objects_as_listed(api: FakeApiServer, world: World) -> None:
    api.seed(pod("vad"))
    await list_all(api, world)
    plan = FakePlan()
    await loop_of(api, world, plan).reconcile()
    assert [found.metadata.name for found in plan.seen[0].pods] == ["vad-0a"]


async def test_the_plan_is_told_for_how_long_what_another_clock_wrote_has_stood(
    api: FakeApiServer, world: World
) -> None:
    plan = FakePlan()
    loop = loop_of(api, world, plan)
    api.seed(pod("vad"))
    for written_at in ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "1970-01-01T00:00:00Z"):
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": written_at}
        await api.apply(pod("vad") | {"status": {"conditions": [ready]}}, "status")
        await list_all(api, world)
        await loop.reconcile()
    first, second, third = (seen.age_of(seen.pods[0].metadata).total_seconds() for seen in plan.seen)
    assert 0 == first < second < 60
    assert third == 0


@pytest.mark.parametrize("error", [UNAVAILABLE, REFUSED, AWAY, ApiError(409, "conflict")])
async def test_one_models_error_holds_up_no_other_and_reaches_the_plan(
    api: FakeApiServer, world: World, error: ApiError
) -> None:
    plan = FakePlan(Desired(apply=(service("bad"), service("good"))))
    loop = loop_of(api, world, plan)
    api.fail(on("apply", "bad"), error, times=1)
    await loop.reconcile()
    assert api.find(SERVICE, "good", "shop") is not None
    await loop.reconcile()
    assert plan.seen[-1].apply_errors == {("shop", "bad"): f"apply Service shop/bad: {error}"}


SOMEBODYS = obj("v1", "Service", "vad", labels={"app": "shop"}, spec={"ports": [{"port": 80}]})


async def test_somebody_elses_object_of_the_name_is_left_alone_and_the_model_says_so(
    api: FakeApiServer, world: World
) -> None:
    api.seed(SOMEBODYS)
    plan = FakePlan(Desired(apply=(service("vad"), pod("vad"))))
    loop = loop_of(api, world, plan)
    await loop.reconcile()
    await loop.reconcile()
    assert writes(api) == [("apply", "Pod", "vad-0a")]
    assert plan.seen[-1].apply_errors == {
        ("shop", "vad"): "apply Service shop/vad: somebody else's Service has this name: "
        "rename it, or the InferenceModel"
    }


async def test_somebody_elses_object_with_the_operators_label_is_left_alone(
    api: FakeApiServer, world: World
) -> None:
    theirs = {
        **SOMEBODYS,
        "metadata": {**SOMEBODYS["metadata"], "labels": service("vad")["metadata"]["labels"]},
    }
    api.seed(theirs)
    await list_all(api, world)
    await loop_of(api, world, FakePlan(Desired(apply=(service("vad"),)))).reconcile()
    assert writes(api) == []


async def test_an_object_of_the_operators_own_that_was_not_seen_yet_is_applied(
    api: FakeApiServer, world: World
) -> None:
    api.seed(service("vad", port=80))
    await loop_of(api, world, FakePlan(Desired(apply=(service("vad"),)))).reconcile()
    assert api.find(SERVICE, "vad", "shop")["spec"] == service("vad")["spec"]  # type: ignore[index]


async def test_what_a_deleted_model_left_behind_is_taken_up_again(api: FakeApiServer, world: World) -> None:
    left = service("vad")
    del left["metadata"]["ownerReferences"]
    left["metadata"]["managedFields"] = [{"manager": "kneescale-operator", "operation": "Apply"}]
    api.seed(left)
    await list_all(api, world)
    await loop_of(api, world, FakePlan(Desired(apply=(service("vad"),)))).reconcile()
    assert writes(api) == [("apply", "Service", "vad")]


class HastyApiServer(FakeApiServer):
    """Somebody makes a Service right after the operator has looked whether there is one."""

    async def get(self, manifest: Object) -> Object | None:
        """See ApiServer."""
        found = await super().get(manifest)
        self.seed(SOMEBODYS)
        return found


async def test_what_somebody_makes_just_then_is_not_taken_over(world: World) -> None:
    api = HastyApiServer()
    await loop_of(api, world, FakePlan(Desired(apply=(service("vad"),)))).reconcile()
    assert api.find(SERVICE, "vad", "shop")["spec"] == SOMEBODYS["spec"]  # type: ignore[index]


async def test_what_somebody_made_in_the_place_of_the_operators_own_is_not_taken_over(
    api: FakeApiServer, world: World
) -> None:
    api.seed(service("vad", port=80))
    await list_all(api, world)
    api.seed(SOMEBODYS)
    await loop_of(api, world, FakePlan(Desired(apply=(service("vad"),)))).reconcile()
    assert api.find(SERVICE, "vad", "shop")["spec"] == SOMEBODYS["spec"]  # type: ignore[index]


async def test_what_fails_for_a_gpu_reaches_all_models_on_it(api: FakeApiServer, world: World) -> None:
    api.seed(model("vad"))
    await list_all(api, world)
    status = model("vad", status={"replicas": 1})
    plan = FakePlan(Desired(apply=(gpu_schedule("vad", "asr"),), status=(status,), events=(accepted("vad"),)))
    api.fail(on("apply", "node1-gpu0"), REFUSED, times=1)
    loop = loop_of(api, world, plan)
    await loop.reconcile()
    assert [event["reason"] for event in api.events] == ["Accepted"], "the decision itself is written down"
    await loop.reconcile()
    said = f"apply GPUSchedule node1-gpu0: {REFUSED}"
    assert plan.seen[-1].apply_errors == {("shop", "vad"): said, ("shop", "asr"): said}


async def test_a_failed_write_waits_before_it_is_tried_again(api: FakeApiServer, world: World) -> None:
    loop = loop_of(api, world, FakePlan(Desired(apply=(service("bad"),))))
    api.fail(on("apply", "bad"), UNAVAILABLE, times=1)
    due_s = await loop.reconcile()
    now_s = asyncio.get_running_loop().time()
    assert now_s < due_s <= now_s + BACKOFF.first_s
    await loop.reconcile()
    assert writes(api) == [("apply", "Service", "bad")]


async def test_a_failed_write_is_tried_again_by_itself(api: FakeApiServer, world: World) -> None:
    loop = loop_of(api, world, FakePlan(Desired(apply=(service("bad"),))))
    api.fail(on("apply", "bad"), AWAY, times=1)
    async with running(loop):
        await until(lambda: api.find(SERVICE, "bad", "shop") is not None)
    assert writes(api) == [("apply", "Service", "bad")] * 2


async def test_decisions_become_events_and_lines_once_they_are_written_down(
    api: FakeApiServer, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    api.seed(model("vad"))
    await list_all(api, world)
    wanted = Desired(status=(model("vad", status={"replicas": 1}),), events=(accepted("vad"),))
    loop = loop_of(api, world, FakePlan(wanted))
    api.fail(on("apply status", "vad"), UNAVAILABLE, times=1)
    await loop.reconcile()
    assert api.events == []
    with caplog.at_level(logging.INFO):
        async with running(loop):
            await until(lambda: api.events != [])
    (event,) = api.events
    assert event["metadata"]["namespace"] == "shop"
    assert (event["reason"], event["note"]) == ("Accepted", "the model is accepted")
    (line,) = [each.__dict__ for each in caplog.records if "is accepted" in each.message]
    assert (line["namespace"], line["model"], line["device"]) == ("shop", "vad", "node1/gpu0")


async def test_what_cannot_be_read_is_told_once(
    api: FakeApiServer, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = obj("kneescale.dev/v1alpha1", "GPUSchedule", "node1-gpu0", namespace="", spec={"partitions": 5})
    api.seed(wrong)
    await list_all(api, world)
    loop = loop_of(api, world, FakePlan())
    for _ in range(2):
        await loop.reconcile()
    (line,) = [each.getMessage() for each in caplog.records if "left out" in each.message]
    assert line.startswith("GPUSchedule node1-gpu0 is left out of all plans: ")


async def test_an_event_that_cannot_be_posted_stops_nothing(api: FakeApiServer, world: World) -> None:
    api.fail(lambda request: request.verb == "create", UNAVAILABLE, times=1)
    await loop_of(api, world, FakePlan(Desired(events=(accepted("vad"), accepted("asr"))))).reconcile()
    assert [event["regarding"]["name"] for event in api.events] == ["asr"]


async def test_a_plan_that_raises_ends_nothing_and_is_tried_again_after_a_rest(
    api: FakeApiServer, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[Observed] = []

    def plan(observed: Observed) -> Desired:
        tries.append(observed)
        if len(tries) < 3:
            raise ZeroDivisionError("of a model's rate")
        return Desired(apply=(service("vad"),))

    metrics = Metrics()
    loop = Loop(api, world, plan, "127.0.0.1", metrics, Pace(debounce_s=0.0))
    async with running(loop):
        await until(lambda: len(tries) == 1)
        loop.wake()
        await until(lambda: api.find(SERVICE, "vad", "shop") is not None)
    broken = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [bool(line.exc_info) for line in broken] == [True, False], "one traceback for one error"
    assert "next try in 1 s" in broken[0].message
    assert "next try in 2 s" in broken[1].message
    assert metrics.registry.get_sample_value("kneescale_reconciles_total", {"result": "broken"}) == 2


async def test_a_wake_brings_a_new_plan(api: FakeApiServer, world: World) -> None:
    plan = FakePlan()
    loop = loop_of(api, world, plan, Pace(debounce_s=0.01))
    async with running(loop):
        await until(lambda: len(plan.seen) == 1)
        loop.wake()
        loop.wake()
        await until(lambda: len(plan.seen) == 2)


async def test_restless_news_wait_for_each_other(api: FakeApiServer, world: World) -> None:
    plan = FakePlan()
    loop = loop_of(api, world, plan, Pace(debounce_s=0.0, restless_s=WAIT_S))
    async with running(loop):
        await until(lambda: len(plan.seen) == 1)
        began_s = asyncio.get_running_loop().time()
        for _ in range(20):
            loop.wake_soon()
            await asyncio.sleep(0)
        assert len(plan.seen) == 1
        await until(lambda: len(plan.seen) == 2)
        assert asyncio.get_running_loop().time() - began_s >= WAIT_S


async def test_the_plan_may_ask_to_be_called_again(api: FakeApiServer, world: World) -> None:
    plan = FakePlan(Desired(requeue_after_s=0.01))
    async with running(loop_of(api, world, plan, Pace(debounce_s=0.0))):
        await until(lambda: len(plan.seen) == 3)


async def test_a_resync_shows_what_no_watch_told(api: FakeApiServer, world: World) -> None:
    plan = FakePlan()
    async with running(loop_of(api, world, plan, Pace(resync_s=0.02))):
        await until(lambda: len(plan.seen) == 1)
        api.seed(pod("vad"))
        await until(lambda: bool(plan.seen[-1].pods))


async def test_a_resync_that_fails_leaves_the_world_as_it_was(api: FakeApiServer, world: World) -> None:
    api.seed(pod("vad"))
    await list_all(api, world)
    api.fail(lambda request: request.verb == "list", AWAY, times=3)
    plan = FakePlan()
    async with running(loop_of(api, world, plan, Pace(resync_s=0.02))):
        await until(lambda: len(plan.seen) >= 5)
    assert all(observed.pods for observed in plan.seen)


async def test_the_start_waits_for_the_crds(api: FakeApiServer, world: World) -> None:
    api.seed(model("vad"))
    api.fail(lambda request: request.kind == "InferenceModel", ApiError(404, "not found"), times=1)
    await list_all_at_start(api, world, patience_s=30)
    assert len(world.objects(INFERENCE_MODEL)) == 1


async def test_the_start_gives_up_with_what_to_do(api: FakeApiServer, world: World) -> None:
    api.fail(lambda request: request.kind == "InferenceModel", ApiError(404, "not found"), times=9)
    with pytest.raises(KneescaleError, match="no inferencemodels: apply the CRDs"):
        await list_all_at_start(api, world, patience_s=0)
