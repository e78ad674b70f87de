"""The verdict on a run of chaos."""

from dataclasses import replace

from e2e.chaos.account import Adversity, Struck
from e2e.chaos.report import Report
from e2e.demo.figures import Outcome


def report(*outcomes: Outcome, left_over: tuple[str, ...] = ()) -> Report:
    return Report(
        seed=1,
        begin_s=1000.0,
        duration_s=60.0,
        planned_area=0.6,
        outcomes={"vgg19": outcomes},
        slo_ms={"vgg19": 50},
        adversity=Adversity(()),
        left_over=left_over,
    )


def struck(fault: str, error: str = "") -> Struck:
    return Struck(fault, "vgg19-1", frozenset(), began_s=1001.0, ended_s=1002.0, error=error)


def failed(at_s: float, error: str) -> Outcome:
    return Outcome(1000.0 + at_s, None, correct=False, error=error)


def test_failures_that_differ_by_a_number_alone_are_told_together_with_their_times() -> None:
    seen = report(failed(1, "port 8001"), failed(2.5, "port 8000"), failed(30, "port 8001"), failed(3, "odd"))
    assert seen.failures() == [
        "vgg19: 3 x port N (2 from 1 to 2 s, 1 from 30 to 30 s)",
        "vgg19: 1 x odd (1 from 3 to 3 s)",
    ]


def test_the_seconds_without_a_free_core_are_told_with_their_times() -> None:
    seen = replace(report(failed(1, "odd")), adversity=Adversity((), [1010.0, 1011.0, 1030.0]))
    assert "  no free core: 2 from 10 to 11 s, 1 from 30 to 30 s" in seen.to_text().splitlines()
    assert "no free core:" not in report(failed(1, "odd")).to_text()


def test_what_is_left_over_is_a_failure_of_its_own() -> None:
    assert report(left_over=("a mount",)).failures() == ["a mount"]


def test_a_kind_of_fault_that_never_came_to_pass_is_a_failure_of_its_own() -> None:
    faults = [
        struck("worker killed", "did not come to pass: there is none just now"),
        struck("worker gone mad", "did not come to pass: there is none just now"),
        struck("worker killed"),
        struck("worker gone mad", "came to pass only half-way: it ended"),
    ]
    assert replace(report(), adversity=Adversity(faults)).failures() == [
        "worker gone mad: drawn 2 times and never in full; the last one came to pass only half-way: it ended"
    ]


def test_what_did_not_come_to_pass_is_counted_and_told_and_so_is_who_could_not_be_asked() -> None:
    faults = [
        struck("worker killed"),
        struck("worker killed", "did not come to pass: there is none just now"),
    ]
    seen = replace(
        report(failed(1, "odd")), adversity=Adversity(faults), unread=["node1: its agent is silent"]
    )
    first, happened, missed, unread = seen.to_text().splitlines()[:4]
    assert "2 faults, 1 of them not or only half-way" in first
    assert happened.endswith("vgg19-1 (1.0 s)")
    assert missed.endswith("(1.0 s): did not come to pass: there is none just now")
    assert unread == "  node1: its agent is silent"
