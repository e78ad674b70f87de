"""What a cluster does with the objects of a `World`: pods start and drain, Jobs end, agents report.

Each is a `Move`; a test makes them in any order, or lets `settle` make them all.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from kneescale.api.conditions import format_time
from kneescale.api.names import DEVICE_ANNOTATION, MODEL_LABEL, PREDICT, ROLE_LABEL
from kneescale.core import worker_variables
from kneescale.core.units import US_PER_MS
from kneescale.core.worker_message import ERROR, EXPECTED_ERROR_PERCENT, POINTS
from kneescale.plan.state import Manifest
from tests.plan.world import Key, Move, World, key_of

_GPU_PERCENTS = (10, 20, 40, 60, 80, 100)
_BATCHES = (1, 2, 4, 8, 16)


def surface(knee_percent: int, base_ms: float) -> list[tuple[int, int, int]]:
    """Points (GPU%, batch, microseconds) of a model that takes `base_ms` for one item past its knee."""
    return [
        (percent, batch, round(US_PER_MS * base_ms * batch**0.5 * max(1.0, knee_percent / percent)))
        for percent in _GPU_PERCENTS
        for batch in _BATCHES
    ]


def moves(world: World) -> list[Move]:
    """All that may happen now besides the operator."""
    return [
        *(move for pod in world.find("Pod") for move in _pod_moves(world, pod)),
        *(move for claim in world.find("ResourceClaim") for move in _claim_moves(world, claim)),
        *(move for job in world.find("Job") for move in _job_moves(world, job)),
        *(move for schedule in world.find("GPUSchedule") for move in _agent_moves(world, schedule)),
        *(Move(f"collect {key}", partial(_collect, world, key)) for key in _garbage(world)),
    ]


def agents_report(world: World) -> None:
    """Every agent writes its GPUSchedules' status."""
    for schedule in world.find("GPUSchedule"):
        for move in _agent_moves(world, schedule):
            move.make()


def settle(world: World, check: Callable[[], None] = lambda: None, patience: int = 60) -> None:
    """Reconcile and make every possible move, until nothing changes any more; `check` after each change.

    Raises AssertionError when it goes on for ever.
    """
    for _ in range(patience):
        changes = world.reconcile()
        check()
        for move in moves(world):
            move.make()
            check()
            changes += 1
        if not changes:
            return
    going_on = [move.name for move in world.writes()[0]]
    raise AssertionError(f"still changing after {patience} turns: {going_on}")


def ready_pods(world: World, model: str) -> list[str]:
    """Names of the pods that get the requests of a model's Service."""
    return _ready_pods(world, world.get("Service", model)["spec"]["selector"])


def _ready_pods(world: World, selector: dict[str, str]) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in world.find("Pod")
        if _is_ready(pod)
        and "deletionTimestamp" not in pod["metadata"]
        and selector.items() <= pod["metadata"]["labels"].items()
    ]


def _pod_moves(world: World, pod: Manifest) -> Iterator[Move]:
    meta = pod["metadata"]
    if "deletionTimestamp" in meta:
        yield Move(f"{meta['name']} has drained", partial(world.drop, key_of(pod)))
    elif "status" not in pod and _claim_key(pod) in world.objects and _can_start(world, pod):
        yield Move(f"{meta['name']} starts", partial(_start, world, pod))


def _can_start(world: World, pod: Manifest) -> bool:
    """Whether the scheduler allocates the claim: the device is published and well, its node not cordoned."""
    uuid = _device_uuid(pod)
    return any(
        device["attributes"]["uuid"]["string"] == uuid
        and not device.get("taints")
        and not is_cordoned(world, each["spec"]["nodeName"])
        for each in world.find("ResourceSlice")
        for device in each["spec"]["devices"]
    )


def _device_uuid(pod: Manifest) -> str | None:
    """The device that the plan chose; None for a pod that asks for one which is not there."""
    annotations: dict[str, str] = pod["metadata"].get("annotations", {})
    return annotations.get(DEVICE_ANNOTATION)


def is_cordoned(world: World, node: str) -> bool:
    """Whether the node takes no new pods, as when it is drained."""
    return bool(world.get("Node", node, namespace="").get("spec", {}).get("unschedulable"))


def evictions(world: World, node: str) -> list[Move]:
    """What `kubectl drain` of a node may do now: evict each worker that its model's budget lets go."""
    return [
        Move(f"evict {pod['metadata']['name']}", partial(world.remove, *key_of(pod)[::2]))
        for pod in world.find("Pod")
        if _device_uuid(pod) in _uuids(world, node)
        and "deletionTimestamp" not in pod["metadata"]
        and _may_evict(world, pod)
    ]


def _uuids(world: World, node: str) -> set[str]:
    schedules = world.find("GPUSchedule")
    return {each["spec"]["uuid"] for each in schedules if each["spec"]["nodeName"] == node}


def _may_evict(world: World, pod: Manifest) -> bool:
    if not _is_ready(pod):
        return True
    budget = world.get("PodDisruptionBudget", pod["metadata"]["labels"][MODEL_LABEL])["spec"]
    selector = budget["selector"]["matchLabels"]
    return len(_ready_pods(world, selector)) > int(budget["minAvailable"])


def _claim_moves(world: World, claim: Manifest) -> Iterator[Move]:
    kind, namespace, name = key_of(claim)
    if "deletionTimestamp" in claim["metadata"] and ("Pod", namespace, name) not in world.objects:
        yield Move(f"claim {name} goes", partial(world.drop, (kind, namespace, name)))


def _job_moves(world: World, job: Manifest) -> Iterator[Move]:
    if "deletionTimestamp" in job["metadata"]:
        yield Move(f"job {job['metadata']['name']} goes", partial(world.drop, key_of(job)))
    elif "status" not in job and (_predicts(job) or _claim_key(job) in world.objects):
        yield Move(f"job {job['metadata']['name']} ends", partial(_end, world, job))


def _agent_moves(world: World, schedule: Manifest) -> Iterator[Move]:
    status = _agent_status(world, schedule)
    if schedule.get("status") != status:
        yield Move(f"agent reports {schedule['metadata']['name']}", partial(schedule.update, status=status))


def _claim_key(obj: Manifest) -> Key:
    return "ResourceClaim", obj["metadata"]["namespace"], obj["metadata"]["name"]


def _start(world: World, pod: Manifest) -> None:
    if _is_on_full_node(world, pod):
        message = "0/2 nodes are available: 1 Insufficient memory, 1 cannot allocate all claims."
        scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        pod["status"] = {"phase": "Pending", "conditions": [scheduled]}
        return
    if pod["spec"]["containers"][0]["image"] in world.unpullable:
        waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
        pod["status"] = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}
        return
    error = world.broken.get(_uri(pod["spec"]))
    pod["status"] = {"phase": "Running"}
    if error is None:
        pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    else:
        pod["status"]["containerStatuses"] = [
            {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": _ended_badly(error)}
        ]


def _end(world: World, job: Manifest) -> None:
    """The Job's pod leaves its result, and the Job says how it went."""
    if _is_on_full_node(world, job):
        _fail(world, job)
        return
    meta, template = job["metadata"], job["spec"]["template"]
    error = world.broken.get(_uri(template["spec"]))
    measured = {POINTS: surface(knee_percent=40, base_ms=5.0)}
    predicted = {POINTS: surface(knee_percent=50, base_ms=8.0), EXPECTED_ERROR_PERCENT: 80}
    done = json.dumps(predicted if _predicts(job) else measured)
    state = _ended_badly(error) if error else {"terminated": {"exitCode": 0, "message": done}}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
    pod_metadata = {
        "name": f"{meta['name']}-0",
        "namespace": meta["namespace"],
        "labels": template["metadata"]["labels"],
        "ownerReferences": [owner],
    }
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": pod_metadata, "spec": template["spec"]}
    pod = world.create(manifest)
    pod["status"] = {"phase": "Failed" if error else "Succeeded", "containerStatuses": [{"state": state}]}
    condition = {
        "type": "Failed" if error else "Complete",
        "status": "True",
        "lastTransitionTime": format_time(world.now),
    }
    job["status"] = {"conditions": [condition]}


def _fail(world: World, job: Manifest) -> None:
    """Its pod never ran, and went with its time."""
    failed = {
        "type": "Failed",
        "status": "True",
        "reason": "DeadlineExceeded",
        "message": "Job was active longer than specified deadline",
        "lastTransitionTime": format_time(world.now),
    }
    job["status"] = {"conditions": [failed]}


def _is_on_full_node(world: World, obj: Manifest) -> bool:
    return any(_device_uuid(obj) in _uuids(world, node) for node in world.full_nodes)


def _predicts(job: Manifest) -> bool:
    """Whether the Job reads a model's kernels, for which it needs no claim."""
    return bool(job["metadata"]["labels"][ROLE_LABEL] == PREDICT)


def _ended_badly(error: str) -> dict[str, Any]:
    return {"terminated": {"exitCode": 2, "message": json.dumps({ERROR: error})}}


def _agent_status(world: World, schedule: Manifest) -> dict[str, Any]:
    states = {
        pod["metadata"]["name"]: "Hung" if pod["metadata"]["uid"] in world.hung else "Serving"
        for pod in world.find("Pod")
        if _is_ready(pod)
    }
    return {
        "observedGeneration": schedule["metadata"]["generation"],
        "measuredAt": format_time(world.now + world.nodes_ahead),
        "areaUsedPermille": world.area_used_permille,
        "partitions": [
            {
                "name": partition["name"],
                "state": states.get(partition["name"], "Waiting"),
                **(_measured(world, partition["model"]) if partition["name"] in states else {}),
            }
            for partition in schedule["spec"]["partitions"]
        ],
    }


def _measured(world: World, model: str) -> dict[str, Any]:
    """What an agent says of one of the model's workers."""
    if model not in world.rates:
        return {}
    rate_ips = world.rates[model] / max(1, len(ready_pods(world, model)))
    traffic = {
        "recentItemsPerSecond": f"{rate_ips:.1f}",
        "steadyItemsPerSecond": f"{rate_ips:.2f}",
        "steadySeconds": "30.0",
        "trendItemsPerSecond": "0.000",
        "dispersionPermille": 1000,
    }
    return {"traffic": traffic, **world.figures.get(model, {})}


def _is_ready(pod: Manifest) -> bool:
    return any(
        (each["type"], each["status"]) == ("Ready", "True")
        for each in pod.get("status", {}).get("conditions", [])
    )


def _uri(pod_spec: Manifest) -> str:
    (container,) = pod_spec["containers"]
    variables = {str(entry["name"]): str(entry["value"]) for entry in container["env"]}
    return variables[worker_variables.MODEL_URI]


def _garbage(world: World) -> list[Key]:
    """Objects whose owners are all gone."""
    uids = {obj["metadata"]["uid"] for obj in world.objects.values()}
    return [
        key
        for key, obj in world.objects.items()
        if (owners := obj["metadata"].get("ownerReferences"))
        and not any(owner["uid"] in uids for owner in owners)
        and "deletionTimestamp" not in obj["metadata"]
    ]


def _collect(world: World, key: Key) -> None:
    if key in world.objects:
        kind, namespace, name = key
        world.remove(kind, name, namespace)
