"""Pods and Jobs as the API server shows them: what ails them, in one line."""

from datetime import UTC, datetime

import pytest

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


@pytest.mark.parametrize(
    ("reason", "started", "message", "since"),
    [
        ("CrashLoopBackOff", "2026-01-01T00:00:00Z", "", datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)),
        ("CrashLoopBackOff", "2026-01-01T00:00:01Z", "", None),
        ("CrashLoopBackOff", "2026-01-01T00:00:00Z", '{"error": "model.pt is truncated"}', None),
        ("ContainerCreating", "2026-01-01T00:00:00Z", "", None),
        ("CrashLoopBackOff", None, "", None),
    ],
)
def test_a_worker_that_had_served_is_held_back_by_the_kubelet(
    reason: str, started: str | None, message: str, since: datetime | None
) -> None:
    ended = {"exitCode": 137, "startedAt": started, "finishedAt": "2026-01-01T00:00:30Z", "message": message}
    status = container(state={"waiting": {"reason": reason}}, lastState={"terminated": ended})
    assert parse_pod(pod(**status)).held_back_since == since


def test_a_ready_pod_has_no_problem_whatever_was_before() -> None:
    status = container(lastState={"terminated": {"exitCode": 1}})
    ready = parse_pod(pod(conditions=[{"type": "Ready", "status": "True"}], **status))
    assert (ready.ready, ready.problem) == (True, None)


def job_pod(name: str, exit_code: int, finished: str, message: str) -> Manifest:
    ended = {"exitCode": exit_code, "finishedAt": finished, "message": message}
    return {
        "metadata": {"name": name, "labels": {"batch.kubernetes.io/job-name": "job"}},
        "status": {"containerStatuses": [{"state": {"terminated": ended}}]},
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
    found = parse_job(job(**status), pods)
    assert (found.ended_at is not None, found.succeeded, found.message) == (has_ended, succeeded, message)


def waiting_job_pod(phase: str) -> Manifest:
    waiting = {"reason": "ErrImagePull", "message": "not found"}
    return {
        "metadata": {"name": "d", "labels": {"batch.kubernetes.io/job-name": "job"}},
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
    assert parse_job(job(), pods).problem == problem
