"""Whole lives of models: from the first apply to the last object gone."""

from datetime import timedelta

from kneescale.api.conditions import format_time
from kneescale.api.gpu_schedule import Policy
from kneescale.plan.state import Manifest
from tests.plan.cluster import (
    UNHEARD_OF,
    add_node,
    check_made_anew,
    condition,
    emulated_world,
    model,
    profile_of,
    serving_world,
)
from tests.plan.cluster_life import agents_report, ready_pods, settle
from tests.plan.world import World


def status_of(world: World, name: str) -> Manifest:
    status: Manifest = world.get("InferenceModel", name)["status"]
    return status


def reasons(world: World) -> list[str]:
    return [event.reason for event in world.events]


def partitions(world: World) -> list[Manifest]:
    return [each for schedule in world.find("GPUSchedule") for each in schedule["spec"]["partitions"]]


def settle_without_outage(world: World, name: str) -> None:
    ready = len(ready_pods(world, name))

    def check() -> None:
        assert len(ready_pods(world, name)) >= ready

    settle(world, check)


def test_a_model_comes_into_service() -> None:
    world = emulated_world()
    world.create(model("resnet50"))
    settle(world)
    status = status_of(world, "resnet50")
    assert [(each["type"], each["status"]) for each in status["conditions"]] == [
        ("Accepted", "True"),
        ("Profiled", "True"),
        ("Placed", "True"),
        ("Ready", "True"),
        ("SLOMet", "Unknown"),
        ("Scaled", "Unknown"),
    ]
    assert (status["kneePercent"], status["replicas"], status["backend"]) == (40, 1, "emulated")
    assert status["placements"][0]["state"] == "Serving"
    assert len(ready_pods(world, "resnet50")) == 1
    assert reasons(world) == [
        *("Accepted", "Predicted", "Placed", "Starting"),
        *("Profiled", "Serving", "Replanned"),
    ]


def test_a_model_that_nothing_is_known_of_waits_until_it_is_measured() -> None:
    world = emulated_world()
    world.create(model("a", model=UNHEARD_OF))
    settle(world)
    assert reasons(world) == ["Accepted", "Profiling", "Profiled", "Placed", "Starting", "Serving"]


def test_profiling_leaves_nothing_but_the_profile() -> None:
    world = serving_world(model("resnet50"))
    assert world.find("Job") == []
    (claim,) = world.find("ResourceClaim")
    (pod,) = world.find("Pod")
    assert claim["metadata"]["name"] == pod["metadata"]["name"]
    profile = profile_of(world)
    assert profile["spec"]["source"] == "Measured"
    assert profile["status"]["kneePercent"] == 40


def test_every_device_has_a_schedule_even_an_empty_one() -> None:
    world = serving_world(model("resnet50"))
    assert [each["metadata"]["name"] for each in world.find("GPUSchedule")] == ["node1-gpu0", "node1-gpu1"]
    assert len(partitions(world)) == 1


def test_planning_again_changes_nothing_and_posts_nothing() -> None:
    world = serving_world(model("resnet50"), model("vgg19"))
    world.now += timedelta(hours=1)
    agents_report(world)
    assert world.reconcile() == 0
    assert world.events == []


def test_another_slo_is_a_new_plan_on_the_same_worker() -> None:
    world = serving_world(model("resnet50"))
    before, (pod,) = status_of(world, "resnet50"), world.find("Pod")
    world.edit("InferenceModel", "resnet50", lambda spec: spec["slo"].update(latencyMilliseconds=20))
    settle(world)
    after = status_of(world, "resnet50")
    assert after["batch"] < before["batch"]
    assert partitions(world)[0]["sloMilliseconds"] == 20
    assert world.find("Pod") == [pod]
    assert reasons(world) == ["Replanned"]


def test_late_requests_are_refused_until_the_spec_says_otherwise_and_that_needs_no_new_worker() -> None:
    world = serving_world(model("resnet50"))
    (pod,) = world.find("Pod")
    assert partitions(world)[0]["lateRequests"] == "Refuse"
    world.edit("InferenceModel", "resnet50", lambda spec: spec["slo"].update(lateRequests="Serve"))
    settle(world)
    assert partitions(world)[0]["lateRequests"] == "Serve"
    assert world.find("Pod") == [pod]


def test_another_gpu_percent_is_a_swap_without_an_outage() -> None:
    world = serving_world(model("resnet50"))
    (before,) = ready_pods(world, "resnet50")
    world.edit("InferenceModel", "resnet50", lambda spec: spec.update(overrides={"gpuPercent": 20}))
    settle_without_outage(world, "resnet50")
    (after,) = ready_pods(world, "resnet50")
    assert after != before
    assert [each["lanes"] for each in partitions(world)] == [[20]]
    assert len(world.find("ResourceClaim")) == 1
    assert reasons(world).count("Swapping") == 1


def test_an_old_partition_stays_in_the_schedule_until_its_pod_is_gone() -> None:
    world = serving_world(model("resnet50"))
    (old,) = ready_pods(world, "resnet50")
    world.edit("InferenceModel", "resnet50", lambda spec: spec.update(maxBatch=8))

    def check() -> None:
        if ("Pod", "default", old) in world.objects:
            assert old in [each["name"] for each in partitions(world)]

    settle(world, check)
    assert ("Pod", "default", old) not in world.objects


def test_a_new_worker_that_cannot_load_leaves_the_old_one_serving() -> None:
    world = serving_world(model("resnet50"))
    before = ready_pods(world, "resnet50")
    world.broken["catalog://resnet50"] = "model.pt is truncated"
    world.edit("InferenceModel", "resnet50", lambda spec: spec.update(maxBatch=8))
    settle_without_outage(world, "resnet50")
    assert ready_pods(world, "resnet50") == before
    ready = condition(world.get("InferenceModel", "resnet50"), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ModelLoadFailed")
    assert ready["message"] == "model.pt is truncated; until it starts, 1 worker serves"


def test_another_model_uri_serves_the_old_model_until_the_new_one_is_profiled() -> None:
    world = serving_world(model("resnet50"))
    world.edit("InferenceModel", "resnet50", lambda spec: spec["model"].update(uri="catalog://vgg19"))
    settle_without_outage(world, "resnet50")
    (pod,) = world.find("Pod")
    assert {"name": "KNEESCALE_MODEL_URI", "value": "catalog://vgg19"} in pod["spec"]["containers"][0]["env"]
    profile = profile_of(world)
    assert profile["spec"]["modelURI"] == "catalog://vgg19"


def test_an_slo_that_nothing_can_keep_leaves_the_old_plan_in_place() -> None:
    world = serving_world(model("resnet50"))
    planned = partitions(world)
    world.edit("InferenceModel", "resnet50", lambda spec: spec["slo"].update(latencyMilliseconds=1))
    settle_without_outage(world, "resnet50")
    placed = condition(world.get("InferenceModel", "resnet50"), "Placed")
    assert (placed["status"], placed["reason"]) == ("False", "InfeasibleSLO")
    assert "the SLO of 1 ms allows 0.5 ms a batch" in placed["message"]
    assert partitions(world) == planned


def test_a_model_too_many_waits_and_harms_no_other() -> None:
    world = serving_world(model("resnet50", expectedRequestsPerSecond=200), gpus=1)
    before = partitions(world)
    world.create(model("vgg19", expectedRequestsPerSecond=5000, overrides={"gpuPercent": 100, "batch": 8}))
    settle_without_outage(world, "resnet50")
    placed = condition(world.get("InferenceModel", "vgg19"), "Placed")
    assert (placed["status"], placed["reason"]) == ("False", "InsufficientGPU")
    assert "the freest GPU has" in placed["message"]
    assert partitions(world) == before


def test_a_model_that_cannot_be_profiled_says_so_and_is_tried_again() -> None:
    world = emulated_world()
    world.broken[UNHEARD_OF["uri"]] = "no such model"
    world.create(model("resnet50", model=UNHEARD_OF))
    settle(world)
    profiled = condition(world.get("InferenceModel", "resnet50"), "Profiled")
    assert (profiled["status"], profiled["reason"]) == ("False", "ProfileFailed")
    assert profiled["message"] == "no such model (attempt 1, next at 2026-01-01T00:01:00Z)"
    assert world.find("ResourceClaim") == []

    world.broken.clear()
    world.now += timedelta(seconds=59)
    assert world.reconcile() == 0
    world.now += timedelta(seconds=1)
    settle(world)
    assert len(ready_pods(world, "resnet50")) == 1
    assert world.find("Job") == []


def test_profiling_backs_off_and_a_changed_spec_tries_at_once() -> None:
    world = emulated_world()
    world.broken["catalog://resnet50"] = "out of memory"
    world.create(model("resnet50"))
    for attempt, minutes in enumerate([1, 2, 4, 8, 16, *[32] * 60], start=1):
        settle(world)
        message = condition(world.get("InferenceModel", "resnet50"), "Profiled")["message"]
        assert f"attempt {attempt}" in message
        world.now += timedelta(minutes=minutes)
    settle(world)
    world.broken.clear()
    world.edit("InferenceModel", "resnet50", lambda spec: spec.update(maxBatch=4))
    settle(world)
    assert len(ready_pods(world, "resnet50")) == 1


def test_a_lost_pod_is_made_anew_where_it_was() -> None:
    world = serving_world(model("resnet50"))
    (pod,) = world.find("Pod")
    pod["status"] = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}
    settle(world)
    check_made_anew(world, pod)
    assert ready_pods(world, "resnet50") == [pod["metadata"]["name"]]


def test_a_killed_worker_that_the_kubelet_makes_wait_is_made_anew() -> None:
    world = serving_world(model("resnet50"))
    (pod,) = world.find("Pod")
    ended = {
        "exitCode": 137,
        "startedAt": format_time(world.now - timedelta(minutes=1)),
        "finishedAt": format_time(world.now),
    }
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 20s restarting failed container"}
    pod["status"] = {
        "phase": "Running",
        "containerStatuses": [{"state": {"waiting": waiting}, "lastState": {"terminated": ended}}],
    }
    settle(world)
    check_made_anew(world, pod)
    assert ready_pods(world, "resnet50") == [pod["metadata"]["name"]]


def test_a_vanished_node_takes_its_schedules_and_its_models_move() -> None:
    world = serving_world(model("resnet50"), gpus=1)
    add_node(world, "node2", gpus=1)
    settle(world)
    world.remove("Node", "node1", namespace="")
    world.remove("ResourceSlice", "node1-slice", namespace="")
    settle_without_outage(world, "resnet50")
    assert [each["metadata"]["name"] for each in world.find("GPUSchedule")] == ["node2-gpu0"]
    assert status_of(world, "resnet50")["placedOn"] == "node2/gpu0"


def test_scaling_up_and_down() -> None:
    world = serving_world(model("resnet50", scaling={"minReplicas": 1, "maxReplicas": 2}))
    before = ready_pods(world, "resnet50")
    world.edit("InferenceModel", "resnet50", lambda spec: spec["scaling"].update(replicas=2))
    settle_without_outage(world, "resnet50")
    assert len(ready_pods(world, "resnet50")) == status_of(world, "resnet50")["replicas"] == 2
    assert reasons(world) == ["Starting", "Adding", "Serving"]
    world.edit("InferenceModel", "resnet50", lambda spec: spec["scaling"].update(replicas=1))
    settle(world)
    assert ready_pods(world, "resnet50") == before


def test_a_schedule_edited_by_hand_is_reverted() -> None:
    world = serving_world(model("resnet50"))
    planned = partitions(world)
    name = next(each["metadata"]["name"] for each in world.find("GPUSchedule") if each["spec"]["partitions"])

    def spoil(spec: Manifest) -> None:
        spec["partitions"] = [{**spec["partitions"][0], "gpuPercent": 100, "weight": 9}]

    world.edit("GPUSchedule", name, spoil, namespace="")
    settle(world)
    assert partitions(world) == planned


def test_deleting_a_model_leaves_nothing_of_it() -> None:
    world = serving_world(model("resnet50"), model("vgg19"))
    kept = [key for key in world.objects if "vgg19" in key[2]]
    world.remove("InferenceModel", "resnet50")
    settle_without_outage(world, "vgg19")
    assert [key for key in world.objects if "resnet50" in key[2]] == []
    assert [key for key in world.objects if "vgg19" in key[2]] == kept
    assert {each["model"] for each in partitions(world)} == {"vgg19"}


def delete_without_its_workers(world: World, name: str) -> None:
    """As `kubectl delete --cascade=orphan` does."""
    world.remove("InferenceModel", name)
    for obj in world.objects.values():
        if obj["metadata"].get("labels", {}).get("kneescale.dev/model") == name:
            obj["metadata"].pop("ownerReferences", None)


def test_workers_that_a_deleted_model_left_behind_end() -> None:
    world = serving_world(model("resnet50"), model("vgg19"))
    delete_without_its_workers(world, "resnet50")
    settle_without_outage(world, "vgg19")
    assert {key[2].split("-")[0] for key in world.objects if key[0] in ("Pod", "ResourceClaim")} == {"vgg19"}
    assert {each["model"] for each in partitions(world)} == {"vgg19"}


def test_workers_that_a_deleted_model_left_behind_serve_it_when_it_is_made_again() -> None:
    world = serving_world(model("resnet50"))
    pods = world.find("Pod")
    delete_without_its_workers(world, "resnet50")
    world.create(model("resnet50"))
    settle_without_outage(world, "resnet50")
    assert world.find("Pod") == pods
    assert condition(world.get("InferenceModel", "resnet50"), "Ready")["reason"] == "Serving"
    world.remove("InferenceModel", "resnet50")
    settle(world)
    assert [*world.find("Pod"), *world.find("ResourceClaim")] == []


def test_workers_without_an_owner_stay_where_their_model_cannot_be_read() -> None:
    world = serving_world(model("resnet50"))
    pods = world.find("Pod")
    delete_without_its_workers(world, "resnet50")
    world.create(model("resnet50", slo={}))
    settle(world)
    assert world.find("Pod") == pods


def test_the_profile_of_a_model_that_cannot_be_read_stays() -> None:
    world = serving_world(model("resnet50"))
    world.edit("InferenceModel", "resnet50", lambda spec: spec["gpu"].update(memory="9Ei"))
    settle(world)
    profile = profile_of(world)
    assert profile["spec"]["source"] == "Measured"


def test_a_shared_profile_goes_with_the_last_model_that_uses_it() -> None:
    source = {"uri": "catalog://resnet50", "format": "Emulated"}
    world = serving_world(model("first", model=source), model("second", model=source))
    profile = profile_of(world)
    assert "ownerReferences" not in profile["metadata"], "they would have it deleted in another cluster"
    world.remove("InferenceModel", "first")
    settle(world)
    assert len(world.find("ModelProfile")) == 1
    world.remove("InferenceModel", "second")
    settle(world)
    assert world.find("ModelProfile") == []


def test_plain_temporal_sharing_needs_no_new_worker() -> None:
    world = serving_world(model("resnet50"))
    pods = world.find("Pod")
    world.settings = emulated_world(policy=Policy.TEMPORAL).settings
    settle(world)
    assert world.find("Pod") == pods
    assert {each["spec"]["policy"] for each in world.find("GPUSchedule")} == {"Temporal"}
    assert [each["gpuPercent"] for each in partitions(world)] == [100]
    assert status_of(world, "resnet50")["gpuPercent"] == 100


def test_a_new_worker_image_swaps_every_worker() -> None:
    world = serving_world(model("resnet50"), model("vgg19"))
    before = {pod["metadata"]["name"] for pod in world.find("Pod")}
    world.settings = type(world.settings)(worker_image="kneescale/worker:2")
    settle_without_outage(world, "resnet50")
    assert {pod["spec"]["containers"][0]["image"] for pod in world.find("Pod")} == {"kneescale/worker:2"}
    assert not before & {pod["metadata"]["name"] for pod in world.find("Pod")}
