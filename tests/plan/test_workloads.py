"""Pods and Jobs as the API server shows them: what ails them, in one line."""

from collections.abc import Mapping

import pytest

from kneescale.core.errors import InvalidInputError
from kneescale.plan.state import Manifest
from kneescale.plan.workloads import Problem, parse_job, parse_pod


def pod(**status: object) -> Manifest:
    return {"metadata": {"name": "lite0-1", "namespace": "default"}, "status": status}


def container(**states: object) -> Manifest:
    return {"containerStatuses": [states]}


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        ({}, None),
        (container(state={"waiting": {"reason": "ContainerCreating"}}), None),
        (container(state={"running": {}}), None),
        (
            {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/2 nodes"}]},
            Problem("Unschedulable", "0/2 nodes"),
        ),
        (
            container(state={"waiting": {"reason": "ErrImagePull", "message": "not\nfound"}}),
            Problem("ImagePullBackOff", "not found"),
        ),
        (
            container(
                state={"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                lastState={"terminated": {"exitCode": 2, "message": '{"error": "model.pt is truncated"}'}},
            ),
            Problem("ModelLoadFailed", "model.pt is truncated"),
        ),
        (
            container(
                lastState={"terminated": {"exitCode": 3, "message": '{"error": "a fault\\non the GPU"}'}}
            ),
            Problem("WorkerFailed", "a fault on the GPU"),
        ),
        (
            container(lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),
            Problem("WorkerFailed", "the worker ended with exit code 137 (OOMKilled)"),
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "low on\nmemory"},
            Problem("Evicted", "low on memory"),
        ),
    ],
)
def test_what_keeps_a_pod_from_serving(status: Manifest, problem: Problem | None) -> None:
    assert parse_pod(pod(**status)).problem == problem


SERVED = {"exitCode": 137, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:30Z"}


@pytest.mark.parametrize(
    ("waits", "changes", "is_held_back"),
    [
        ("back-off 20s restarting failed container=worker", {}, True),
        ("back-off 1m20s restarting failed container=worker", {}, True),
        ("back-off 5m0s restarting failed container=worker", {}, True),
        # It had loaded, and says why it ended.
        (
            "back-off 20s restarting failed",
            {"exitCode": 3, "message": '{"error": "a fault on the GPU"}'},
            True,
        ),
        # Sooner than another pod would be.
        ("back-off 10s restarting failed container=worker", {}, False),
        ("in words that no kubelet has used so far", {}, False),
        # It may crash in a loop.
        ("back-off 20s restarting failed", {"startedAt": "2026-01-01T00:00:01Z"}, False),
        ("back-off 20s restarting failed", {"startedAt": None}, False),
        (
            "back-off 20s restarting failed",
            {"exitCode": 2, "message": '{"error": "model.pt is truncated"}'},
            False,
        ),
    ],
)
def test_a_worker_that_had_served_is_held_back_where_the_kubelet_makes_it_wait_long(
    waits: str, changes: Mapping[str, str | int | None], is_held_back: bool
) -> None:
    waiting = {"reason": "CrashLoopBackOff", "message": waits}
    status = container(state={"waiting": waiting}, lastState={"terminated": {**SERVED, **changes}})
    assert parse_pod(pod(**status)).is_held_back is is_held_back


def test_a_ready_pod_has_no_problem_whatever_was_before() -> None:
    status = container(lastState={"terminated": {"exitCode": 1}})
    ready = parse_pod(pod(conditions=[{"type": "Ready", "status": "True"}], **status))
    assert (ready.ready, ready.problem) == (True, None)


def job_pod(name: str, exit_code: int, finished: str, message: str) -> Manifest:
    ended = {"exitCode": exit_code, "finishedAt": finished, "message": message}
    return {
        "metadata": {"name": name},
        "status": {
            "phase": "Failed" if exit_code else "Succeeded",
            "containerStatuses": [{"state": {"terminated": ended}}],
        },
    }


def job(**status: object) -> Manifest:
    template = {"spec": {"containers": [{"image": "worker:1"}]}}
    return {
        "metadata": {"name": "job", "namespace": "default"},
        "spec": {"template": template},
        "status": status,
    }


def ended(kind: str) -> Manifest:
    time = "2026-01-01T00:00:00Z"
    return {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": time, "message": "why"}]}


FIRST = job_pod("a", 2, "2026-01-01T00:00:01Z", "first failure")
SECOND = job_pod("b", 2, "2026-01-01T00:00:02Z", "second failure")
SUCCESS = job_pod("c", 0, "2026-01-01T00:00:00Z", "points")


@pytest.mark.parametrize(
    ("status", "pods", "has_ended", "succeeded", "message"),
    [
        ({}, [], False, False, ""),
        ({}, [FIRST], False, False, "first failure"),
        (ended("Complete"), [FIRST, SUCCESS], True, True, "points"),
        (ended("Failed"), [SECOND, FIRST], True, False, "second failure"),
        (ended("Failed"), [], True, False, "why"),
    ],
)
def test_how_a_job_went(
    status: Manifest, pods: list[Manifest], has_ended: bool, succeeded: bool, message: str
) -> None:
    found = parse_job(job(**status), [parse_pod(each) for each in pods])
    assert (found.ended_at is not None, found.succeeded, found.message) == (has_ended, succeeded, message)


def waiting_job_pod(phase: str) -> Manifest:
    waiting = {"reason": "ErrImagePull", "message": "not found"}
    return {
        "metadata": {"name": "d"},
        "status": {"phase": phase, "containerStatuses": [{"state": {"waiting": waiting}}]},
    }


@pytest.mark.parametrize(
    ("pods", "problem"),
    [
        ([], None),
        ([FIRST], None),
        ([FIRST, waiting_job_pod("Pending")], Problem("ImagePullBackOff", "not found")),
        ([waiting_job_pod("Failed")], None),
    ],
)
def test_what_keeps_a_job_from_starting(pods: list[Manifest], problem: Problem | None) -> None:
    assert parse_job(job(), [parse_pod(each) for each in pods]).problem == problem


@pytest.mark.parametrize("time", ["creationTimestamp", "deletionTimestamp"])
def test_a_time_that_is_none_is_refused(time: str) -> None:
    pod: Manifest = {"metadata": {"name": "vad-0a", time: "soon"}, "spec": {"containers": [{"image": "w"}]}}
    with pytest.raises(InvalidInputError, match=f"metadata.{time}"):
        parse_pod(pod)
